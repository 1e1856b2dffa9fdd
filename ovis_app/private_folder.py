"""A folder of this process alone: nobody else may look into it, and what a killed process left is removed by the next.
And one that gets its name once it is whole, so that nobody sees half of it.

Knows folders and locks; refuses to know what lies in them.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import stat
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows: there leftovers stay until somebody cleans up
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

PREFIX = "ovis-"
HIDDEN = ".ovis-"  # among files of people
LOCK = "lock"
REPLACED = "replaced"  # in a private folder: what is put back beside it where nothing came in its place

_there: weakref.WeakSet[PrivateFolder] = weakref.WeakSet()


class PrivateFolder:
    """A new folder in `parent`, with mode 0700. Raises OSError where there can be none."""

    def __init__(self, parent: Path, prefix: str = PREFIX) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent, prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent.resolve()))
        # Locked before it has its name, so that nobody who sweeps finds it unlocked.
        new = self.path / "new"
        lock = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
        self._end = weakref.finalize(self, _remove, self.path, lock, os.getpid())
        _there.add(self)
        if fcntl is not None:
            with suppress(OSError):  # a disk without locks, on which nobody sweeps
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(self.path / LOCK)

    def close(self) -> None:
        """Removes the folder and all that is in it, as the end of the process does."""
        self._end()


def remove_all() -> None:
    """Removes those of this process that are still there: it is left without coming to its end."""
    for folder in list(_there):
        folder.close()


def _remove(path: Path, lock: int, process: int) -> None:
    if os.getpid() != process:  # one that was forked has the same folder, which isn't its own
        return
    os.close(lock)  # first: Windows removes no file that is open
    with suppress(OSError):
        _clear(path)


def _clear(path: Path) -> None:
    """Removes a private folder, once what it took away has its name again, unless something else has that. Its lock
    goes last: without it nobody would go on where this is killed. Raises OSError, with nothing removed, where it can't
    be put back."""
    replaced = path / REPLACED
    for old in list(replaced.iterdir()) if replaced.is_dir() else []:
        place = path.parent / old.name
        if not os.path.lexists(place):
            old.rename(place)
    for found in path.iterdir():
        if found.is_dir():
            shutil.rmtree(found, ignore_errors=True)
        elif found.name != LOCK:
            with suppress(OSError):
                found.unlink()
    shutil.rmtree(path, ignore_errors=True)


def name_for(prefix: str) -> Path:
    """Where a folder may be made that nobody else knows of, by whoever turns out to need it: nothing is written yet."""
    try:
        parent = tempfile.gettempdir()
    except OSError:  # nothing can be written anywhere, which is said once something is to be
        parent = os.curdir
    return Path(parent) / f"{prefix}{secrets.token_hex(8)}"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A private folder that is there while the block runs. Where nothing can be written it isn't, which only those who
    write into it need to say."""
    try:
        own = PrivateFolder(Path(tempfile.gettempdir()))
    except OSError:
        yield name_for(PREFIX)
        return
    try:
        yield own.path
    finally:
        own.close()


@contextmanager
def made_whole(out: Path, *, replaces: bool = False) -> Iterator[Path]:
    """A folder to fill, which gets the name `out` in one step as the block ends. Raises FileExistsError where something
    else has it by then, but for an empty folder; and OSError where none can be made.

    Where it `replaces`, what has the name is taken away first, so that for a moment nothing has it. It comes back where
    the new one fails to get the name; after a kill in that moment, with the next private folder that is made there."""
    place = out.absolute()
    own = PrivateFolder(place.parent, HIDDEN)
    try:
        new = own.path / "new"
        new.mkdir()
        yield new
        if replaces and place.exists():
            (own.path / REPLACED).mkdir()
            place.rename(own.path / REPLACED / place.name)
        _name(new, place)
    finally:
        own.close()


def _name(new: Path, place: Path) -> None:
    """Gives a folder its name, in the place of an empty one, and makes sure that it keeps it."""
    try:
        with suppress(FileNotFoundError):
            place.rmdir()
        new.replace(place)
    except OSError as error:
        if place.is_symlink() or place.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place)) from error
        raise
    if os.name == "posix":
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Holds the lock of a folder or a file while the block runs: False where another process does, or another block of
    this one. It ends with the process, however that does. On disks and systems without locks nobody has it. Raises
    OSError where there is nothing to hold."""
    if fcntl is None:
        yield True
        return
    lock = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass
        yield True
    finally:
        os.close(lock)


def sweep(parent: Path, prefix: str = PREFIX) -> None:
    """Removes what processes left in `parent` that are no more: their locks aren't held. What isn't ours stays, and
    what they were about to replace comes back."""
    if fcntl is None:
        return
    for folder in parent.glob(f"{prefix}*"):
        with suppress(OSError):
            about = folder.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _clear(folder)
                log.info("a folder that a former process left is removed")
            finally:
                os.close(lock)
