"""The gate for files that people attach: decides by content what they are, and keeps a turn's rules.

Knows sizes and rules; the pixels are checked by `images` and `video`, in processes of their own.
"""

from __future__ import annotations

import logging
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ovis_app.conversation import Media, MediaKind
from ovis_app.errors import MediaError
from ovis_app.limits import MEGABYTE, Limits, refusal, shown_name
from ovis_app.media.content_hash import digest
from ovis_app.media.file_types import HEAD, Kind, kind_of
from ovis_app.media.images import check_images
from ovis_app.media.video import check_video

log = logging.getLogger(__name__)


LOOK_SECONDS = 40.0  # that all files of one question may take before another clip is looked at
File = tuple[Path, str]  # where it lies and what its owner calls it


def attach(path: Path, name: str, limits: Limits) -> Media:
    """The file at `path`, which the user calls `name`, as a checked picture or clip. Its content decides which, and
    every byte of a picture is looked at, so that damage shows here and not in the answer. Raises MediaError."""
    kind = _kind(path, name, limits)
    if kind.media == "image":
        [refused] = check_images([(path, name)], limits)
        if refused is not None:
            raise refused
    else:
        check_video(path, name, limits)
    assert kind.media is not None
    return Media(kind.media, path, shown_name(name))


def attach_all(files: Sequence[File], limits: Limits) -> tuple[tuple[Media, ...], tuple[str, ...]]:
    """The files that can go into one turn, and a sentence for each that can't: several pictures or one clip, never
    both (the first good file decides), and at most `limits.files_per_turn`; one sentence stands for all beyond."""
    good: list[Media] = []
    refused: list[str] = []
    ends = time.monotonic() + LOOK_SECONDS
    pictures: dict[File, MediaError | None] = {}  # looked at together, once it is clear that pictures are wanted
    for place, (path, name) in enumerate(files[: limits.files_per_turn]):
        try:
            kind = _kind(path, name, limits).media
            assert kind is not None
            _fits(kind, name, good)
            if kind == "video":
                _check_clip(path, name, limits, ends)
            else:
                pictures = pictures or _looked_at(files[place : limits.files_per_turn], limits)
                if (error := pictures[path, name]) is not None:
                    raise error
        except MediaError as error:
            refused.append(str(error))
        else:
            good.append(Media(kind, path, shown_name(name)))
    rest = files[limits.files_per_turn :]
    if rest:
        others = f" and {len(rest) - 1} more" if len(rest) > 1 else ""
        most = "1 file" if limits.files_per_turn == 1 else f"{limits.files_per_turn} files"
        refused.append(f"“{shown_name(rest[0][1])}”{others} did not fit: attach at most {most} to a message.")
    return tuple(good), tuple(refused)


def attach_turns(turns: Sequence[Sequence[File]], limits: Limits) -> tuple[tuple[Media, ...], ...]:
    """The files of a whole conversation, which are refused together: every turn's rules hold, and all pictures are
    looked at in one go. What passed lately isn't looked at again, since programs send a conversation's files with each
    question. Raises MediaError for the first that can't be attached."""
    found: list[tuple[Media, ...]] = []
    for files in turns:
        turn: list[Media] = []
        for path, name in files:
            kind = _kind(path, name, limits).media
            assert kind is not None
            _fits(kind, name, turn)
            turn.append(Media(kind, path, shown_name(name)))
        found.append(tuple(turn))
    ends = time.monotonic() + LOOK_SECONDS
    unknown = {key: one for turn in found for one in turn if not _passed.has(key := (digest(one), limits))}
    pictures = [(one.path, one.label) for one in unknown.values() if one.kind == "image"]
    for refused in check_images(pictures, limits):
        if refused is not None:
            raise refused
    for one in unknown.values():
        if one.kind == "video":
            _check_clip(one.path, one.label, limits, ends)
    _passed.add(unknown)
    return tuple(found)


class _Passed:
    """Contents that passed under which limits, the latest `most` of them."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._known: OrderedDict[tuple[str, Limits], None] = OrderedDict()

    def has(self, key: tuple[str, Limits]) -> bool:
        with self._lock:
            return key in self._known

    def add(self, keys: Iterable[tuple[str, Limits]]) -> None:
        with self._lock:
            self._known.update(dict.fromkeys(keys))
            while len(self._known) > self._most:
                self._known.popitem(last=False)


_passed = _Passed(1024)


def _looked_at(files: Sequence[File], limits: Limits) -> dict[File, MediaError | None]:
    """The verdict on every picture among the files."""
    pictures: list[File] = []
    for path, name in files:
        with suppress(MediaError):
            if _kind(path, name, limits).media == "image":
                pictures.append((path, name))
    return dict(zip(pictures, check_images(pictures, limits), strict=True))


def _check_clip(path: Path, name: str, limits: Limits, ends: float) -> None:
    """Raises MediaError, once it is past `ends` without looking: sixteen damaged clips mustn't take sixteen times as
    long as one may."""
    if time.monotonic() > ends:
        raise refusal(name, "wasn't looked at, since the files before it took too long: send it by itself.")
    check_video(path, name, limits)


def _fits(kind: MediaKind, name: str, good: Sequence[Media]) -> None:
    if kind == "video" and good:
        held = "another clip" if good[0].kind == "video" else "pictures"
        raise refusal(name, f"can't go with {held} in one message: send it in a message of its own.")
    if kind == "image" and good and good[0].kind == "video":
        raise refusal(name, "can't go with a clip in one message: send it in the next message.")


def _kind(path: Path, name: str, limits: Limits) -> Kind:
    """The kind of a file that may be attached, by its first bytes and its size."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise refusal(name, "is not a file: attach a picture or a clip.")
        with path.open("rb") as file:
            kind = kind_of(file.read(HEAD))
    except OSError as error:
        log.info("file refused: %s", type(error).__name__)
        raise refusal(name, "could not be opened: attach it again.") from error
    if not about.st_size:
        raise refusal(name, "is empty: save or download it again and attach that.")
    most = limits.video_bytes if kind.media == "video" else limits.image_bytes
    if kind.media and about.st_size > most:
        what, remedy = ("clips", "trim it") if kind.media == "video" else ("pictures", "scale it down")
        raise refusal(name, f"is larger than the {most / MEGABYTE:g} MB allowed for {what}: {remedy} and try again.")
    if kind.media is None:
        raise refusal(name, kind.advice)
    return kind
