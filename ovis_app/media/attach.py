"""The gate for files that people attach: decides by content what they are, and keeps a turn's rules.

Knows sizes and rules; the pixels are checked by `images` and `video`, in processes of their own.
"""

from __future__ import annotations

import logging
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ovis_app.conversation import Media, MediaKind
from ovis_app.errors import MediaError
from ovis_app.limits import MEGABYTE, Limits, refusal, shown_name
from ovis_app.media.content_hash import digest
from ovis_app.media.file_types import HEAD, Kind, kind_of
from ovis_app.media.images import LOOK_SECONDS, UNSEEN, Checked, check_images
from ovis_app.media.video import check_video

log = logging.getLogger(__name__)


File = tuple[Path, str]  # where it lies and what its owner calls it
Key = tuple[str, Limits]  # a content's digest, and the limits that it was checked under


def attach(path: Path, name: str, limits: Limits) -> Media:
    """The file at `path`, which the user calls `name`, as a checked picture or clip. Its content decides which, and
    every byte of a picture is looked at, so that damage shows here and not in the answer. Raises MediaError."""
    kind = _kind(path, name, limits)
    if kind.media == "image":
        [checked] = check_images([(path, name)], limits)
        if isinstance(checked, MediaError):
            raise checked
        return _as_passed(Media("image", path, shown_name(name)), checked, alone=True)
    check_video(path, name, limits)
    return Media("video", path, shown_name(name))


def attach_all(files: Sequence[File], limits: Limits) -> tuple[tuple[Media, ...], tuple[str, ...]]:
    """The files that can go into one turn, and a sentence for each that can't: pictures or clips, never both (the
    first good file decides), and at most `limits.files_per_turn`; one sentence stands for all beyond. An
    animation is a clip where it is alone."""
    good: list[Media] = []
    refused: list[str] = []
    ends = time.monotonic() + LOOK_SECONDS
    animated = False  # the last one
    pictures: dict[File, MediaError | Checked] = {}  # looked at together, once it is clear that pictures are wanted
    for place, (path, name) in enumerate(files[: limits.files_per_turn]):
        try:
            kind = _kind(path, name, limits).media
            assert kind is not None
            _fits(kind, name, good, limits)
            if kind == "video":
                _check_clip(path, name, limits, ends)
                good.append(Media(kind, path, shown_name(name)))
            else:
                pictures = pictures or _looked_at(files[place : limits.files_per_turn], limits)
                if isinstance(checked := pictures[path, name], MediaError):
                    raise checked
                good.append(_as_passed(Media(kind, path, shown_name(name)), checked, alone=False))
                animated = checked.moves
        except MediaError as error:
            refused.append(str(error))
    if len(good) == 1 and animated:
        good = [replace(good[0], kind="video")]
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
            _fits(kind, name, turn, limits)
            turn.append(Media(kind, path, shown_name(name)))
        found.append(tuple(turn))
    keys = {one: (digest(one), limits) for turn in found for one in turn}
    known = {key: checked for key in keys.values() if (checked := _passed.get(key)) is not None}
    known |= _newly_passed({key: one for one, key in keys.items() if key not in known}, limits)
    return tuple(tuple(_as_passed(one, known[keys[one]], alone=len(turn) == 1) for one in turn) for turn in found)


def _newly_passed(media: Mapping[Key, Media], limits: Limits) -> dict[Key, Checked]:
    """What they are, by their keys. Raises MediaError for the first that can't be attached."""
    ends = time.monotonic() + LOOK_SECONDS
    pictures = {key: one for key, one in media.items() if one.kind == "image"}
    passed = {key: Checked(1, moves=False) for key in media}
    for key, verdict in zip(
        pictures, check_images([(one.path, one.label) for one in pictures.values()], limits), strict=True
    ):
        if isinstance(verdict, MediaError):
            raise verdict
        passed[key] = verdict
    for one in media.values():
        if one.kind == "video":
            _check_clip(one.path, one.label, limits, ends)
    _passed.add(passed)
    return passed


def _as_passed(media: Media, checked: Checked, *, alone: bool) -> Media:
    kind = "video" if checked.moves and alone else media.kind
    return replace(media, kind=kind, pictures=checked.pictures, missing=checked.missing)


class _Passed:
    """What passed under which limits, by its content, the latest `most`."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._known: OrderedDict[Key, Checked] = OrderedDict()

    def get(self, key: Key) -> Checked | None:
        with self._lock:
            return self._known.get(key)

    def add(self, checked: Mapping[Key, Checked]) -> None:
        with self._lock:
            self._known.update(checked)
            while len(self._known) > self._most:
                self._known.popitem(last=False)


_passed = _Passed(1024)


def _looked_at(files: Sequence[File], limits: Limits) -> dict[File, MediaError | Checked]:
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
        raise refusal(name, UNSEEN)
    check_video(path, name, limits)


def _fits(kind: MediaKind, name: str, good: Sequence[Media], limits: Limits) -> None:
    if kind == "video" and good and good[0].kind == "image":
        raise refusal(name, "can't go with pictures in one message: send it in a message of its own.")
    if kind == "image" and good and good[0].kind == "video":
        raise refusal(name, "can't go with a clip in one message: send it in the next message.")
    if kind == "video" and len(good) >= limits.clips_per_turn:
        raise refusal(name, "can't go with another clip: this model watches one clip a question, so ask about each.")


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
