"""Where attached files live: each in a folder whose name nobody can guess, named by its content, and gone with whoever
brought it.

Knows holders, sizes, ages and the disk. A holder is whoever a file belongs to: a session of the page; nobody until the
file is first used. Refuses to know what is in a file, but for the suffix that its first bytes give it.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from ovis_app.conversation import Media, MediaKind
from ovis_app.errors import MediaError
from ovis_app.limits import MEGABYTE, Limits, refusal, shown_name
from ovis_app.media.incoming_file import FULL, IncomingFile, NoRoom, writing
from ovis_app.private_folder import PrivateFolder

log = logging.getLogger(__name__)

MOST = 8 * 1024 * MEGABYTE  # bytes of all files together
MOST_FILES = 20_000
ROOM = 512 * MEGABYTE  # of the disk that stay free, or a tenth of it where that is less
LEFT_SECONDS = 60.0  # after which a session that was left doesn't come back, as one does whose connection broke
UNUSED_SECONDS = 3 * 3600.0  # that a file waits for its question
IDLE_SECONDS = 24 * 3600.0  # that the files stay of a session of which nothing is heard
SWEEP_SECONDS = 15.0

NO_FOLDER = "Files can't be kept here: whoever runs this page must give it a folder that it can write to."

# What gives files the copies that people may see, written into a folder: `shown.with_copies`.
Show = Callable[[Sequence[Media], Path, Limits], tuple[Media, ...]]


def session_holder(session: str | None) -> str:
    """Whose the files of a session of Gradio's are; nobody's where there is none."""
    return f"page:{session}" if session else ""


@dataclass
class Kept:
    """One file. `holder` is empty until somebody uses it, `by` says who brought it as far as that is known."""

    path: Path
    name: str
    by: str
    size: int
    came: float
    holder: str = ""
    shown: dict[MediaKind, Path] = field(default_factory=dict)  # the copies that people see, by their kinds
    kind: MediaKind | None = None  # None for what can't be attached
    making: threading.Lock = field(default_factory=threading.Lock)


class FileStore:
    """The files of all sessions, in a folder of this process in `parent`. `show` makes the copies that people see;
    without, the files themselves are shown. Where there is no folder to write to, no file is taken."""

    def __init__(
        self, parent: Path, limits: Limits, *, show: Show | None = None, most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._limits, self._show, self._most, self._clock = limits, show, most, clock
        self._lock = threading.RLock()
        self._kept: dict[Path, Kept] = {}  # by folder, the oldest first
        self._kept_bytes = 0
        self._coming: Counter[str] = Counter()  # bytes on their way, by who sends them
        self._here: Counter[str] = Counter()  # open connections of a session
        self._left: dict[str, float] = {}  # when a session was left, or last heard of
        self._busy: Counter[str] = Counter()  # answers that read a session's files
        self._closed = threading.Event()
        self._janitor: threading.Thread | None = None
        try:
            self._private: PrivateFolder | None = PrivateFolder(parent)
        except OSError as error:
            log.warning("%s (%s)", NO_FOLDER, type(error).__name__)
            self._private = None

    @property
    def folder(self) -> Path | None:
        """Where all of them lie; None where nothing can be written."""
        return None if self._private is None else self._private.path

    def close(self) -> None:
        """Removes everything."""
        self._closed.set()
        with self._lock:
            self._kept.clear()
            self._kept_bytes = 0
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
            while self._kept_bytes + self._coming.total() + size > self._most:
                self._forget_one(by, lambda one: one.size, self._coming + Counter({by: size}))
            while len(self._kept) >= MOST_FILES:
                self._forget_one(by, lambda _: 1)
            self._coming[by] += size

    def check_disk(self) -> None:
        """Raises NoRoom where the disk is nearly full."""
        assert self._private is not None
        usage = shutil.disk_usage(self._private.path)
        if usage.free < min(ROOM, usage.total // 10):
            raise NoRoom(FULL)

    def _forget_one(
        self, by: str, share: Callable[[Kept], int], coming: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """The oldest of whoever has most, which is who sent it where that is known, whatever sessions they name. Raises
        NoRoom where nobody has anything to spare that has as much as `by`."""
        held, oldest = Counter(coming), dict[str, Path]()
        for folder, one in self._kept.items():
            whose = one.by or one.holder
            held[whose] += share(one)
            if not self._busy[one.holder]:
                oldest.setdefault(whose, folder)
        for whose, _ in held.most_common():
            if whose in oldest:
                self._forget(oldest[whose])
                return
            if whose == by:
                break
        raise NoRoom(FULL)

    def came(self, coming: IncomingFile, path: Path, kind: MediaKind | None) -> None:
        """A file is whole and lies at `path`."""
        with self._lock:
            self.gone(coming.size, coming.by)
            self._kept[path.parent] = Kept(path, coming.name, coming.by, coming.size, self._clock(), kind=kind)
            self._kept_bytes += coming.size
            self._share(path)

    def gone(self, size: int, by: str) -> None:
        """So many bytes are no longer on their way."""
        with self._lock:
            self._coming[by] -= size
            self._coming += Counter()  # drops those that are 0

    def _share(self, path: Path) -> None:
        """The same content lies on the disk once, for all who have it; the file system counts them."""
        twin = next((one for one in self._kept.values() if one.path.name == path.name and one.path != path), None)
        if twin is not None:
            with suppress(OSError):  # where a file system has no links each has its own
                same = path.with_name("same")
                os.link(twin.path, same)
                same.replace(path)

    # --- files are used ----------------------------------------------------------------------------------------------

    def name_of(self, path: Path) -> str:
        """What its owner calls a file."""
        found = self._kept.get(path.parent)
        return found.name if found is not None else path.name

    def has(self, path: Path) -> bool:
        """Whether this is one of the files."""
        found = self._kept.get(path.parent)
        return found is not None and found.path == path

    def claim(self, path: Path, holder: str, name: str = "") -> Path:
        """The file at `path`, which is this holder's from now on. Raises MediaError where it isn't there or is somebody
        else's, which sound the same. Without a holder a file is nobody's, and whoever knows its path may use it."""
        with self._lock:
            found = self._kept.get(path.parent)
            if found is None or found.path != path or found.holder not in ("", holder):
                raise refusal(name or "file", "is no longer here: attach it again.")
            found.holder = holder
            if holder and not self._here[holder]:
                self._left[holder] = self._clock() + IDLE_SECONDS
            return found.path

    def keep(self, media: Sequence[Media], holder: str) -> tuple[Media, ...]:
        """The checked files of a question as they are held from now on, with the copies that people see; the app's own
        as they are. Raises MediaError."""
        with self._lock:  # none of them is forgotten meanwhile
            held = [one for one in media if self.has(one.path)]
            for one in held:
                self.claim(one.path, holder, one.label)
            found = {one: self._kept[one.path.parent] for one in held}
        self._make(found)
        return tuple(replace(one, shown=found[one].shown.get(one.kind)) if one in found else one for one in media)

    def put(self, data: bytes, name: str, holder: str) -> Path:
        """A picture that is made here, and may be shown as it is. Raises NoRoom."""
        with self._lock:  # whose it is counts as who brought the others
            by = next((one.by for one in self._kept.values() if one.by and one.holder == holder), holder)
        coming = self.begin(name, by)
        try:
            coming.write(data)
            with self._lock:  # it isn't forgotten before it is anybody's
                path = coming.finish()
                self._kept[path.parent].holder, self._kept[path.parent].shown = holder, {"image": path}
        finally:
            coming.abort()
        return path

    def shown(self, path: Path) -> Path | None:
        """What may be sent back of the file at `path`, made when it is first asked for: a copy of a picture, which an
        animation is, too, or of a clip, and None where it isn't either. Of a copy, itself."""
        found = self._kept.get(path.parent)
        if found is None or path not in (found.path, *found.shown.values()):
            return None
        if self._show is None or path in found.shown.values():
            return path
        if found.kind is None:
            return None
        with found.making, suppress(MediaError):
            self._make({Media(found.kind, found.path, shown_name(found.name)): found})
        return found.shown.get(found.kind)

    def _make(self, files: Mapping[Media, Kept]) -> None:
        """Makes the copies that aren't there yet, all in one go. Raises MediaError."""
        missing = [media for media, one in files.items() if media.kind not in one.shown]
        missing = [media for media in missing if not self._take_twins(files[media], media.kind)]
        if not missing or self._show is None or self._private is None:
            return
        scratch = self._private.path / f"copies-{secrets.token_hex(8)}"
        try:
            with writing():
                for media, copied in zip(missing, self._show(missing, scratch, self._limits), strict=True):
                    self._see(files[media], media.kind, copied.shown or media.path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _take_twins(self, one: Kept, kind: MediaKind) -> bool:
        """Whether another has a copy of the same content, which is this one's too then."""
        with self._lock:
            copies = [twin.shown.get(kind) for twin in self._kept.values() if twin.path.name == one.path.name]
            seen = next((copy for copy in copies if copy is not None and copy.name != one.path.name), None)
            if seen is not None:
                with suppress(OSError):
                    self._see(one, kind, seen)
        return kind in one.shown

    def _see(self, one: Kept, kind: MediaKind, copy: Path) -> None:
        """People see `copy` of a file, which lies beside it from now on. Raises OSError."""
        own = one.path.with_name(copy.name)
        if not own.exists():
            try:
                os.link(copy, own)
            except OSError:  # where a file system has no links
                shutil.copyfile(copy, own)
        with self._lock:
            size = own.stat().st_size if own != one.path else 0
            one.shown[kind], one.size = own, one.size + size
            if one.path.parent in self._kept:
                self._kept_bytes += size

    def needs_work(self, path: Path) -> bool:
        """Whether the copy to be seen is still to be made."""
        found = self._kept.get(path.parent)
        return bool(found and self._show and found.path == path and found.kind and found.kind not in found.shown)

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
            if not self._here[holder] and any(one.holder == holder for one in self._kept.values()):
                self._left[holder] = self._clock() + LEFT_SECONDS

    def sweep(self) -> None:
        """Removes what belongs to nobody any more."""
        now = self._clock()
        with self._lock:
            over = {holder for holder, ends in self._left.items() if ends <= now and not self._busy[holder]}
            for holder in over:
                del self._left[holder]
            for folder, one in list(self._kept.items()):
                unused = not one.holder and one.came + UNUSED_SECONDS <= now
                if unused or one.holder in over:
                    self._forget(folder)

    def discard(self, path: Path) -> None:
        """Removes a file that nobody may use yet."""
        with self._lock:
            if self.has(path):
                self._forget(path.parent)

    def _forget(self, folder: Path) -> None:
        self._kept_bytes -= self._kept.pop(folder).size
        shutil.rmtree(folder, ignore_errors=True)

    def _start_janitor(self) -> None:
        with self._lock:
            if self._janitor is None:
                self._janitor = threading.Thread(target=self._clean, name="ovis-files", daemon=True)
                self._janitor.start()

    def _clean(self) -> None:
        while not self._closed.wait(SWEEP_SECONDS):
            self.sweep()
