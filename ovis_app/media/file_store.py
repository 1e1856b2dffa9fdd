"""Where attached files live: each in a folder whose name nobody can guess, named by its content, and gone with whoever
brought it.

Knows holders, sizes, ages and the disk. A holder is whoever a file belongs to: a session of the page; nobody until the
file is first used. Refuses to know what is in a file, but for the suffix that its first bytes give it.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ovis_app.conversation import Media, MediaKind
from ovis_app.limits import MEGABYTE, Limits, refusal
from ovis_app.media.incoming_file import FULL, IncomingFile, NoRoom
from ovis_app.media.kept_files import Kept, KeptFiles
from ovis_app.media.seen_copies import SeenCopies, Show
from ovis_app.private_folder import PrivateFolder

log = logging.getLogger(__name__)

MOST = 8 * 1024 * MEGABYTE  # bytes of all files together
MOST_FILES = 20_000
ROOM = 512 * MEGABYTE  # of the disk that stay free, or a tenth of it where that is less
LEFT_SECONDS = 60.0  # after which a session that was left doesn't come back, as one does whose connection broke
UNUSED_SECONDS = 3 * 3600.0  # that a file waits for its question
IDLE_SECONDS = 24 * 3600.0  # that the files stay of a session of which nothing is heard
SWEEP_SECONDS = 15.0

GONE = re.compile(r"[0-9a-f]{32}/[0-9a-f]{64}(\.[a-z0-9]{1,8})?")  # a folder and a file, as they are named here

NO_FOLDER = "Files can't be kept here: whoever runs this page must give it a folder that it can write to."


def session_holder(session: str | None) -> str:
    """Whose the files of a session of Gradio's are; nobody's where there is none."""
    return f"page:{session}" if session else ""


class FileStore:
    """The files of all sessions, in a folder of this process in `parent`. `show` makes the copies that people see;
    without, the files themselves are shown. Where there is no folder to write to, no file is taken."""

    def __init__(
        self, parent: Path, limits: Limits, *, show: Show | None = None, most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._most, self._clock = most, clock
        self._files = KeptFiles()
        self._lock = self._files.lock
        self._here: Counter[str] = Counter()  # open connections of a session
        self._left: dict[str, float] = {}  # when a session was left, or last heard of
        self._busy: Counter[str] = Counter()  # answers that read a session's files
        self._closed = threading.Event()
        self._janitor: threading.Thread | None = None
        self._private: PrivateFolder | None = None
        self._copies: SeenCopies | None = None
        try:
            self._private = PrivateFolder(parent)
        except OSError as error:
            log.warning(NO_FOLDER + " (%s)", type(error).__name__)
        if self._private is not None and show is not None:
            self._copies = SeenCopies(self._files, self._private.path, show, limits)

    @property
    def folder(self) -> Path | None:
        """Where all of them lie; None where nothing can be written."""
        return None if self._private is None else self._private.path

    def close(self) -> None:
        """Removes everything."""
        self._closed.set()
        with self._lock:
            self._files.clear()
            if self._private is not None:
                self._private.close()

    # --- files come --------------------------------------------------------------------------------------------------

    def begin(self, name: str, by: str = "") -> IncomingFile:
        """A file on its way in, sent by `by` under the name `name`. Raises NoRoom."""
        if self._private is None:
            raise NoRoom(NO_FOLDER)
        self._start_janitor()
        return IncomingFile(self, self._private.path / secrets.token_hex(16), name, by)

    def make_room(self, size: int, by: str) -> None:
        """Takes `size` bytes into account that `by` is sending. Where files take too much or are too many, the oldest
        of whoever has most go, but for those that an answer is reading. Raises NoRoom where that isn't enough, or where
        `by` itself has most, and all of it is on its way."""
        with self._lock:
            while self._files.bytes + size > self._most:
                self._forget_one(by, size)
            while len(self._files) >= MOST_FILES:
                self._forget_one(by)
            self._files.coming[by] += size

    def check_disk(self) -> None:
        """Raises NoRoom where the disk is nearly full."""
        assert self._private is not None
        usage = shutil.disk_usage(self._private.path)
        if usage.free < min(ROOM, usage.total // 10):
            raise NoRoom(FULL)

    def _forget_one(self, by: str, size: int | None = None) -> None:
        """Makes room for the `size` bytes that `by` sends, or for one more file. Raises NoRoom."""
        spare = self._files.spare(by, size, self._busy)
        if spare is None:
            raise NoRoom(FULL)
        self._forget(spare)

    def came(self, coming: IncomingFile, path: Path, kind: MediaKind | None) -> None:
        """A file is whole and lies at `path`."""
        with self._lock:
            self.gone(coming.size, coming.by)
            self._files.add(Kept(path, coming.name, coming.by, coming.size, self._clock(), kind=kind))
            self._share(path)

    def gone(self, size: int, by: str) -> None:
        """So many bytes are no longer on their way."""
        with self._lock:
            self._files.gone(size, by)

    def _share(self, path: Path) -> None:
        """The same content lies on the disk once, for all who have it; the file system counts them."""
        twin = next(iter(self._files.twins(path)), None)
        if twin is not None:
            with suppress(OSError):  # where a file system has no links each has its own
                same = path.with_name("same")
                os.link(twin.path, same)
                same.replace(path)

    # --- files are used ----------------------------------------------------------------------------------------------

    def name_of(self, path: Path) -> str:
        """What its owner calls a file."""
        found = self._files.beside(path)
        return found.name if found is not None else path.name

    def has(self, path: Path) -> bool:
        """Whether this is one of the files."""
        return self._files.at(path) is not None

    def may_name(self, path: Path, holder: str) -> bool:
        """Whether this holder may name a path: that of a file which is theirs or nobody's, or was one and is gone."""
        found = self._files.beside(path)
        if found is not None:
            return found.path == path and found.holder in ("", holder)
        return path.parent.parent == self.folder and bool(GONE.fullmatch(f"{path.parent.name}/{path.name}"))

    def claim(self, path: Path, holder: str, name: str = "") -> Path:
        """The file at `path`, which is this holder's from now on. Raises MediaError where it isn't there or is somebody
        else's, which sound the same. Without a holder a file is nobody's, and whoever knows its path may use it."""
        with self._lock:
            found = self._files.at(path)
            if found is None or found.holder not in ("", holder):
                raise refusal(name or "file", "is no longer here: attach it again.")
            found.holder = holder
            if holder and not self._here[holder]:
                self._left[holder] = self._clock() + IDLE_SECONDS
            return found.path

    def keep(self, media: Sequence[Media], holder: str) -> tuple[Media, ...]:
        """The checked files of a question as they are held from now on, with the copies that people see; the app's own
        as they are. Raises MediaError."""
        with self._lock:  # none of them is forgotten meanwhile
            found = {one: kept for one in media if (kept := self._files.at(one.path)) is not None}
            for one in found:
                self.claim(one.path, holder, one.label)
        if self._copies is not None:
            self._copies.make(found)
        return tuple(replace(one, shown=found[one].shown.get(one.kind)) if one in found else one for one in media)

    def put(self, data: bytes, name: str, holder: str) -> Path:
        """A picture that is made here, and may be shown as it is. Raises NoRoom."""
        with self._lock:  # whose it is counts as who brought the others
            by = next((one.by for one in self._files.all() if one.by and one.holder == holder), holder)
        coming = self.begin(name, by)
        try:
            coming.write(data)
            with self._lock:  # it isn't forgotten before it is anybody's
                path = coming.finish()
                kept = self._files.at(path)
                assert kept is not None
                kept.holder, kept.shown = holder, {"image": path}
        finally:
            coming.abort()
        return path

    def shown(self, path: Path) -> Path | None:
        """What may be sent back of the file at `path`, made when it is first asked for: a copy of a picture, which an
        animation is, too, or of a clip, and None where it isn't either. Of a copy, itself."""
        found = self._files.beside(path)
        if found is None or path not in (found.path, *found.shown.values()):
            return None
        return path if self._copies is None or path in found.shown.values() else self._copies.of(found)

    def needs_work(self, path: Path) -> bool:
        """Whether the copy to be seen is still to be made."""
        found = self._files.at(path)
        return bool(found and self._copies and found.kind and found.kind not in found.shown)

    @contextmanager
    def reading(self, holder: str) -> Iterator[None]:
        """While the block runs, nothing of this holder's is removed."""
        if not holder:  # what is nobody's would be everybody's
            yield
            return
        with self._lock:
            self._busy[holder] += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy[holder] -= 1
                self._busy += Counter()

    # --- files go ----------------------------------------------------------------------------------------------------

    def arrive(self, holder: str) -> None:
        """A session is open, in one more connection."""
        with self._lock:
            self._here[holder] += 1
            self._left.pop(holder, None)

    def leave(self, holder: str) -> None:
        """One connection of a session ended. With the last its files go, once it doesn't come back."""
        with self._lock:
            self._here[holder] -= 1
            self._here += Counter()
            if not self._here[holder] and any(one.holder == holder for one in self._files.all()):
                self._left[holder] = self._clock() + LEFT_SECONDS

    def sweep(self) -> None:
        """Removes what belongs to nobody any more."""
        now = self._clock()
        with self._lock:
            over = {holder for holder, ends in self._left.items() if ends <= now and not self._busy[holder]}
            for holder in over:
                del self._left[holder]
            for one in self._files.all():
                unused = not one.holder and one.came + UNUSED_SECONDS <= now
                if unused or one.holder in over:
                    self._forget(one)

    def discard(self, path: Path) -> None:
        """Removes a file that nobody may use yet, or knows of."""
        with self._lock:
            found = self._files.at(path)
            if found is not None:
                self._forget(found)

    def _forget(self, one: Kept) -> None:
        self._files.drop(one)
        shutil.rmtree(one.path.parent, ignore_errors=True)

    def _start_janitor(self) -> None:
        with self._lock:
            if self._janitor is None:
                janitor = threading.Thread(target=self._clean, name="ovis-files", daemon=True)
                janitor.start()  # where no thread begins, the next file tries again
                self._janitor = janitor

    def _clean(self) -> None:
        while not self._closed.wait(SWEEP_SECONDS):
            self.sweep()
