"""Whether the bundled model's files are the ones that it came with: SHA-256 of each, in a file that lies with them.

The file is as sha256sum writes and checks it. Of other folders nobody here knows what should be in them: what the hub
says of its own is for `hf cache verify`. Refuses to know what the files hold.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ovis_app.errors import BackendError
from ovis_app.zoo import MINI, MINI_FOLDER

SUMS = "SHA256SUMS"
READ_BY_PEOPLE = {"README.md", SUMS}  # and by nothing that loads a model
DIFFER = "{file} of {name} isn't the file that this app came with: install the app again, or choose another model."


def write(folder: Path) -> None:
    """Notes what the files of a folder are now."""
    rows = (f"{_digest(file)}  {file.name}\n" for file in sorted(folder.iterdir()) if _counts(file))
    (folder / SUMS).write_text("".join(rows), "utf-8", newline="\n")


def differing(folder: Path) -> list[str]:
    """Names of files that aren't what was noted of them, were never noted, or are gone."""
    try:
        lines = (folder / SUMS).read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return [SUMS]
    noted = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = {file.name: _digest(file) for file in folder.iterdir() if _counts(file)}
    return sorted(name for name, _ in noted.items() ^ there.items())


def check(folder: Path) -> None:
    """Raises BackendError where the bundled model's folder holds something else than it came with."""
    if folder.resolve() == MINI_FOLDER.resolve() and (wrong := differing(folder)):
        raise BackendError(DIFFER.format(file=wrong[0], name=MINI.name))


def _counts(file: Path) -> bool:
    return file.name not in READ_BY_PEOPLE and not file.name.startswith(".") and file.is_file()


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
