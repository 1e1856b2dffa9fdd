"""Brings the libraries of the page into the repository: `make vendor`, after a change of vendor.json.

Each comes from npm, at the version that is written there, with its licence; what a browser needs of it lies in
ovis_app/ui/static/vendor, unchanged. What was brought stands in vendor.sha256, so that whoever has the repository can
hold the files against it: `sha256sum --check --quiet tools/vendor.sha256`. Knows npm. Running and testing the app never
needs this.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WANTED, SUMS = HERE / "vendor.json", HERE / "vendor.sha256"
VENDOR = ROOT / "ovis_app" / "ui" / "static" / "vendor"


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


def folder_of(wanted: dict[str, Any]) -> Path:
    """Where a library lies: the page's, or a test's own."""
    return ROOT / wanted["folder"] if "folder" in wanted else VENDOR


def files_of(wanted: dict[str, Any]) -> list[Path]:
    """A library's files, its licence among them."""
    return [folder_of(wanted) / name for name in wanted["files"].values()]


def sums(files: Iterable[Path]) -> str:
    """Their SHA-256, as sha256sum writes and checks it from the repository's folder."""
    rows = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(ROOT).as_posix()}\n" for file in files)
    return "".join(sorted(rows, key=lambda row: row.partition("  ")[2]))


def main() -> None:
    """Brings all of them, and says which files are no longer what they were."""
    before, libraries = SUMS.read_text("utf-8") if SUMS.exists() else "", json.loads(WANTED.read_text("utf-8"))
    for package, wanted in libraries.items():
        bring(package, wanted["version"], wanted["files"], folder_of(wanted))
        print(f"{package} {wanted['version']}")
    after = sums(file for wanted in libraries.values() for file in files_of(wanted))
    SUMS.write_text(after, "utf-8")
    for row in sorted({*after.splitlines()} - {*before.splitlines()}):
        print(f"new: {row.partition('  ')[2]}")


if __name__ == "__main__":
    main()
