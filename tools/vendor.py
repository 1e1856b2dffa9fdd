"""Brings the libraries of the page into the repository: `make vendor`, after a change of vendor.json.

Each comes from npm, at the version that is written there, with its licence; what a browser needs of it lies in
ovis_app/ui/static/vendor, unchanged. Knows npm. Running and testing the app never needs this.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
WANTED = HERE / "vendor.json"
VENDOR = HERE.parent / "ovis_app" / "ui" / "static" / "vendor"


def bring(package: str, version: str, files: dict[str, str], to: Path) -> None:
    """Puts the files of a package into the folder `to`, by the names that they have there."""
    to.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, f"{package}@{version}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (packed,) = Path(folder).iterdir()
        with tarfile.open(packed) as archive:
            for inside, name in files.items():
                member = archive.extractfile(f"package/{inside}")
                assert member is not None, f"{package} has no {inside}"
                (to / name).parent.mkdir(exist_ok=True)
                (to / name).write_bytes(member.read())


def main() -> None:
    """Brings all of them."""
    for package, wanted in json.loads(WANTED.read_text("utf-8")).items():
        to = HERE.parent / wanted["folder"] if "folder" in wanted else VENDOR  # a test's own
        bring(package, wanted["version"], wanted["files"], to)
        print(f"{package} {wanted['version']}")


if __name__ == "__main__":
    main()
