"""Files that somebody names in a command line or a table: where they lie, or a sentence that says why there is none.

Knows paths, `~`, wildcards and addresses. Refuses to know what a file holds: media/attach.py is the gate.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ovis_app.errors import MediaError

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://")
WILDCARDS = frozenset("*?[")
LONGEST = 200  # characters of a name that a sentence shows


def named(text: str, folder: Path | None = None) -> Path:
    """The file that `text` names, in `folder` or else in the folder that we are in. Raises MediaError."""
    shown = f"“{printable(text)}”"
    if not text.strip():
        raise MediaError("The name of a file is empty: write where the file lies.")
    if text[:5].lower() == "data:":
        raise MediaError("A data URI stands where the name of a file should: save the file, and name it.")
    if text[:7].lower() == "file://":
        text = unquote(urlsplit(text).path)
    elif ADDRESS.match(text):
        raise MediaError(f"{shown} is an address, and addresses aren't fetched: download the file, and name it.")
    for path in _places(text, folder):
        try:
            if stat.S_ISDIR(path.stat().st_mode):
                raise MediaError(f"{shown} is a folder: name a file in it, or ask about each of them by `ovis batch`.")
            if not os.access(path, os.R_OK):
                raise PermissionError
            return path
        except PermissionError as error:
            raise MediaError(f"{shown} may not be read here: change its permissions, or name a copy.") from error
        except (OSError, ValueError):  # not there, or no name at all
            continue
    table = folder.resolve().name if folder else ""
    where = f"the folder {table}, where the table lies, or from " if table else ""
    raise MediaError(f"There is no file {shown}: check the name; it is taken from {where}the folder that you are in.")


def exists(text: str, folder: Path | None = None) -> bool:
    """Whether `text` names a file."""
    try:
        return bool(named(text, folder))
    except MediaError:
        return False


def same_file(one: Path, other: Path) -> bool:
    """Whether two names mean one file, which need not be there yet."""
    try:
        return os.path.realpath(one) == os.path.realpath(other)
    except (OSError, ValueError):
        return False


def all_named(text: str) -> list[Path]:
    """The file that `text` names, or those that it matches: some shells leave wildcards to us. Raises MediaError."""
    if not WILDCARDS & set(text) or exists(text):
        return [named(text)]
    found = sorted(Path(one) for one in glob.glob(os.path.expanduser(text)))  # noqa: PTH111, PTH207 - both raise less
    if not found:
        raise MediaError(f"No file matches “{printable(text)}”: check the name and the folder.")
    return found


def printable(text: str) -> str:
    """A name as it was written, safe to print and not too long."""
    plain = "".join(c if c.isprintable() else "�" for c in text)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST // 2]}…{plain[-LONGEST // 2 :]}"


def _places(text: str, folder: Path | None) -> Iterator[Path]:
    """Where a file of that name may lie; a name that was written on Windows is tried in our way, too."""
    spellings = (text, text.replace("\\", "/")) if os.sep == "/" and "\\" in text else (text,)
    for spelling in spellings:
        path = Path(os.path.expanduser(spelling))  # noqa: PTH111 - Path's own raises for a ~ that nobody has
        if folder is not None:
            yield folder / path
        yield path
