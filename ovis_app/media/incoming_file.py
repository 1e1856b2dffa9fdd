"""A file that arrives in pieces: hashed and counted on its way, named by its content once it is whole, and gone where
that never comes.

Knows bytes and one folder. Whether there is room is asked of whoever keeps files.
"""

from __future__ import annotations

import hashlib
import logging
import mimetypes
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from ovis_app.conversation import MediaKind
from ovis_app.errors import MediaError
from ovis_app.limits import MEGABYTE
from ovis_app.media.file_types import HEAD, Kind, kind_of

log = logging.getLogger(__name__)

LOOK = 4 * MEGABYTE  # of a file on its way between two looks at the disk
FULL = "There is no room for files here now: try again later. Questions without files are answered."


class NoRoom(MediaError):
    """A file that can't be kept, whatever it is."""


@contextmanager
def writing() -> Iterator[None]:
    """The block writes files. Raises NoRoom where it can't."""
    try:
        yield
    except OSError as error:
        log.warning("a file can't be written: %s", type(error).__name__)
        raise NoRoom(FULL) from error


class Keeper(Protocol):
    """Who keeps files, and knows how much room there is."""

    def check_disk(self) -> None:
        """Raises NoRoom where the disk is nearly full."""

    def make_room(self, size: int, by: str) -> None:
        """Takes `size` bytes into account that `by` sends. Raises NoRoom."""

    def gone(self, size: int, by: str) -> None:
        """So many bytes are no longer on their way."""

    def came(self, coming: IncomingFile, path: Path, kind: MediaKind | None) -> None:
        """A file is whole and lies at `path`."""


def _suffix(kind: Kind) -> str:
    """What a file of this kind is called by its end; nothing where it is no picture or clip."""
    return (mimetypes.guess_extension(kind.mime) or "") if kind.media else ""


class IncomingFile:
    """Nothing of it stays unless it ends well."""

    def __init__(self, store: Keeper, folder: Path, name: str, by: str) -> None:
        self.name, self.by, self.size = name, by, 0
        self._store, self._folder = store, folder
        self._hash, self._head, self._look = hashlib.sha256(), b"", 0
        self._file: BinaryIO | None = None
        self._ended = False

    def write(self, data: bytes) -> None:
        """Raises NoRoom."""
        if self.size >= self._look:
            self._store.check_disk()
            self._look = self.size + LOOK
        self._store.make_room(len(data), self.by)
        self.size += len(data)
        with writing():
            if self._file is None:
                self._folder.mkdir(mode=0o700)
                self._file = (self._folder / "coming").open("xb")
            self._file.write(data)
        self._hash.update(data)
        self._head += data[: HEAD - len(self._head)]

    def finish(self) -> Path:
        """Where the whole file lies. Raises NoRoom."""
        if self._file is None:
            self.write(b"")
        assert self._file is not None
        kind = kind_of(self._head)
        path = self._folder / (self._hash.hexdigest() + _suffix(kind))
        with writing():
            self._file.close()
            (self._folder / "coming").rename(path)
        self._ended = True
        self._store.came(self, path, kind.media)
        return path

    def abort(self) -> None:
        """Removes what came, unless it ended well."""
        if self._ended:
            return
        self._ended = True
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._store.gone(self.size, self.by)
