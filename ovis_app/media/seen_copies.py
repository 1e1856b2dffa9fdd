"""The copies of kept files that people see: made once for each content, lying beside each file that has it.

Knows folders, links and the list of files. Refuses to know what a copy shows: whoever makes it does (`shown`).
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ovis_app.conversation import Media, MediaKind
from ovis_app.errors import MediaError
from ovis_app.limits import Limits, shown_name
from ovis_app.media.incoming_file import writing
from ovis_app.media.kept_files import Kept, KeptFiles

# What gives files the copies that people may see, written into a folder: `shown.with_copies`.
Show = Callable[[Sequence[Media], Path, Limits], tuple[Media, ...]]


class SeenCopies:
    """Made by `show` in a folder of their own below `parent`."""

    def __init__(self, files: KeptFiles, parent: Path, show: Show, limits: Limits) -> None:
        self._files, self._parent, self._show, self._limits = files, parent, show, limits

    def of(self, one: Kept) -> Path | None:
        """The copy of a file, made when it is first asked for; None for what can't be attached."""
        if one.kind is None:
            return None
        with one.making, suppress(MediaError):
            self.make({Media(one.kind, one.path, shown_name(one.name)): one})
        return one.shown.get(one.kind)

    def make(self, files: Mapping[Media, Kept]) -> None:
        """Makes the copies that aren't there yet, all in one go. Raises MediaError."""
        missing = [media for media, one in files.items() if media.kind not in one.shown]
        missing = [media for media in missing if not self._take_twins(files[media], media.kind)]
        if not missing:
            return
        scratch = self._parent / f"copies-{secrets.token_hex(8)}"
        try:
            with writing():
                for media, copied in zip(missing, self._show(missing, scratch, self._limits), strict=True):
                    self._see(files[media], media.kind, copied.shown or media.path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _take_twins(self, one: Kept, kind: MediaKind) -> bool:
        """Whether another has a copy of the same content, which is this one's too then."""
        with self._files.lock:
            copies = [twin.shown.get(kind) for twin in self._files.twins(one.path)]
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
        with self._files.lock:
            one.shown[kind] = own
            self._files.grow(one, own.stat().st_size if own != one.path else 0)
