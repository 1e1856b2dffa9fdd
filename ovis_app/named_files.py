"""Files that somebody names in a command line or a table: where they lie, or a sentence that says why there is none.

Knows paths, `~`, wildcards, addresses, and files that were given with their names, of which none lies here. Refuses to
know what a file holds: media/attach.py is the gate.
"""

from __future__ import annotations

import glob
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from ovis_app.errors import MediaError, visible

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://")
WILDCARDS = frozenset("*?[")
DEEPEST = 20  # folders of a name that are compared
LONGEST = 200  # characters of a name that a sentence shows


class Lookup(Protocol):
    """Where the files of a table are looked for."""

    def exists(self, text: str) -> bool:
        """Whether `text` names one."""
        ...

    def named(self, text: str) -> str:
        """What stands for the file that `text` names. Raises MediaError."""
        ...


@dataclass(frozen=True)
class Beside:
    """Files in a folder, where the table lies, or in the folder that we are in: their paths."""

    folder: Path

    def exists(self, text: str) -> bool:
        return exists(text, self.folder)

    def named(self, text: str) -> str:
        return str(named(text, self.folder))


class Given:
    """Files that came with their names, perhaps with those of folders; nothing here is looked at. A table that was
    written elsewhere names them by paths of its own: one is meant where the one name ends with the other, without
    case."""

    def __init__(self, names: Sequence[str]) -> None:
        self._whole = {_plain(name): name for name in names}
        self._ending: dict[str, set[str]] = {}
        for name in names:
            for end in _ends(_plain(name)):
                self._ending.setdefault(end, set()).add(name)

    def exists(self, text: str) -> bool:
        try:
            return bool(self.named(text))
        except MediaError:
            return False

    def named(self, text: str) -> str:
        wanted = _plain(_said(text))
        own = next((self._whole[end] for end in _ends(wanted) if end in self._whole), "")
        found = {self._whole[wanted]} if wanted in self._whole else self._ending.get(wanted, {own} - {""})
        if len(found) > 1:
            raise MediaError(f"Several files are called “{printable(text)}”: name the folder of the one that is meant.")
        for name in found:
            return name
        raise MediaError(f"There is no file “{printable(text)}” among those that were given: add it, or mend its name.")


def _plain(name: str) -> str:
    """A name as it is compared: without case, in one spelling of letters and slashes."""
    plain = unicodedata.normalize("NFC", name).casefold().replace("\\", "/")
    return "/".join(part for part in plain.split("/") if part not in ("", "."))


def _ends(path: str) -> list[str]:
    """The ends of a path, the longest first: a/b/c, b/c, c."""
    parts = path.split("/")[-DEEPEST:] if path else []
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _said(text: str) -> str:
    """A path, of the name of a file as it was written. Raises MediaError where it is none."""
    if not text.strip():
        raise MediaError("The name of a file is empty: write where the file lies.")
    if text[:5].lower() == "data:":
        raise MediaError("A data URI stands where the name of a file should: save the file, and name it.")
    if text[:7].lower() == "file://":
        return unquote(urlsplit(text).path)
    if ADDRESS.match(text):
        raise MediaError(
            f"“{printable(text)}” is an address, and addresses aren't fetched: download the file, and name it."
        )
    return text


def named(text: str, folder: Path | None = None) -> Path:
    """The file that `text` names, in `folder` or else in the folder that we are in. Raises MediaError."""
    shown = f"“{printable(text)}”"
    for path in _places(_said(text), folder):
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
    plain = visible(text)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST // 2]}…{plain[-LONGEST // 2 :]}"


def _places(text: str, folder: Path | None) -> Iterator[Path]:
    """Where a file of that name may lie; a name that was written on Windows is tried in our way, too."""
    spellings = (text, text.replace("\\", "/")) if os.sep == "/" and "\\" in text else (text,)
    for spelling in spellings:
        path = Path(os.path.expanduser(spelling))  # noqa: PTH111 - Path's own raises for a ~ that nobody has
        if folder is not None:
            yield folder / path
        yield path
