"""Clips to frames with their times. Knows what a clip is and what to tell people; the decoding happens in
`video_decoder`, in a process that can be killed.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from ovis_app.conversation import WHOLE_CLIP, Excerpt, Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits, count_of, refusal
from ovis_app.media import decoder_process
from ovis_app.media.animation import NOTHING_LEFT, sample_animation
from ovis_app.media.decoder_failures import reading
from ovis_app.media.file_types import HEAD, Kind, kind_of
from ovis_app.media.images import upright_frames
from ovis_app.media.tone_mapping import toned
from ovis_app.stop import NEVER, Stop

log = logging.getLogger(__name__)

THUMBNAIL_SIDE = 320  # pixels

# What sets a frame upright, by the rows of its display matrix (y points down); odd angles are left as they are.
_TURNS: dict[tuple[int, ...], Image.Transpose] = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


@dataclass(frozen=True)
class VideoInfo:
    """A clip as it is shown: `duration` in seconds, `width` and `height` in square pixels after turning it upright,
    `fps` in frames per second (0 when the file doesn't say)."""

    duration: float
    width: int
    height: int
    fps: float


@dataclass(frozen=True)
class Clip:
    """Frames in order, and when each of them begins, in seconds into the clip that lasts `duration` seconds."""

    frames: tuple[Image.Image, ...]
    times: tuple[float, ...]
    duration: float


def sample_frames(
    media: Media, count: int, limits: Limits, *, excerpt: Excerpt = WHOLE_CLIP, stop: Stop = NEVER
) -> Clip:  # fmt: skip
    """At most `count` frames, evenly spread: the clip, or the excerpt of it, is cut into `count` equal parts and the
    frame on screen in the middle of each is taken, or a keyframe less than a tenth of a part away from it. A clip of
    fewer frames gives each of them once. Of these the excerpt's dropped ones are left out; times count from the
    beginning of the clip all the same. Where that would take decoding more than `limits.decode_pixels`, the keyframes
    nearest to the middles are taken, however near, and there may be fewer. Frames are upright RGB with square pixels,
    scaled down to `limits.frame_side` and `limits.clip_pixels`.

    `stop` is asked at least every 0.1 s. Raises Stopped once it is set, MediaError when the clip can't be read,
    ValueError when `count` is less than one.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    if media.moves:
        drawn, begins, ends = sample_animation(media.path, media.label, count, limits, excerpt, stop=stop)
        return Clip(upright_frames(drawn, media, limits), begins, ends)
    duration, frames, times = 0.0, [], []
    wanted = {"count": count, "side": limits.frame_side, **asdict(excerpt)}
    with closing(_read(media.path, media.label, limits, stop, wanted)) as read:
        for record, picture in read:
            if picture is None:
                duration = float(record["duration"])
            else:
                frames.append(picture)
                times.append(float(record["time"]))
    if not frames:
        raise refusal(media.label, _SENTENCES["no-frames"])
    return Clip(tuple(frames), tuple(times), duration)


def probe(media: Media, limits: Limits) -> VideoInfo:
    """Length, size and frame rate of a clip. Its first frame is decoded, so a clip that passes can be shown.
    Raises MediaError."""
    return _first(media.path, media.label, limits)[0]


def thumbnail(media: Media, limits: Limits, side: int = THUMBNAIL_SIDE) -> Image.Image:
    """The first frame, its longer side at most `side` pixels. Raises MediaError."""
    return _first(media.path, media.label, limits, side)[1]


def check_video(path: Path, name: str, limits: Limits) -> None:
    """Raises MediaError when the clip can't be read or is larger than the limits."""
    _first(path, name, limits)


def _first(path: Path, name: str, limits: Limits, side: int = THUMBNAIL_SIDE) -> tuple[VideoInfo, Image.Image]:
    facts: dict[str, Any] = {}
    with closing(_read(path, name, limits, NEVER, {"count": 0, "side": side, **asdict(WHOLE_CLIP)})) as read:
        for record, picture in read:
            facts.update(record)
            if picture is not None:
                lying = record["matrix"][0] == 0  # the upright frame's width is the stored one's height
                width, height = reversed(record["full"]) if lying else record["full"]
                return VideoInfo(facts["duration"], width, height, facts["fps"]), picture
    raise refusal(name, _SENTENCES["no-frames"])


def _picture(record: dict[str, Any], raw: bytes) -> Image.Image | None:
    if not raw:
        return None
    picture = toned(Image.frombytes("RGB", (record["width"], record["height"]), raw), record["transfer"])
    return upright(picture, tuple(record["matrix"]))


def upright(picture: Image.Image, matrix: tuple[int, ...]) -> Image.Image:
    """The picture as the upper left of its display matrix, by rows, says that it stands."""
    turn = _TURNS.get(matrix)
    return picture if turn is None else picture.transpose(turn)


def _read(
    path: Path, name: str, limits: Limits, stop: Stop, wanted: Mapping[str, Any]
) -> Generator[tuple[dict[str, Any], Image.Image | None], None, None]:
    """What the decoder tells: first about the clip, then frame by frame. Raises MediaError whatever goes wrong."""
    refused = partial(_refused, name, limits)
    with reading(name, refused), path.open("rb") as file:
        kind = kind_of(file.read(HEAD))
        job = _job(kind, name, limits) | dict(wanted)
        file.seek(0)
        with closing(decoder_process.records(file, job, limits, stop)) as records:
            for record, raw in records:
                if "refused" in record:
                    raise refused(str(record["refused"]), str(record.get("cause", "")))
                yield record, _picture(record, raw)


def _job(kind: Kind, name: str, limits: Limits) -> dict[str, Any]:
    if kind.media != "video":
        raise refusal(name, kind.advice or "is a picture, not a clip: attach it as a picture.")
    return {
        "format": kind.formats[0],
        "seconds": limits.video_seconds,
        "pixels": limits.video_pixels,
        "area": limits.clip_pixels,
        "budget": limits.decode_pixels,
        "memory": limits.decode_memory,
        "cpu_seconds": int(limits.decode_seconds * 4) + 1,
    }


_SENTENCES = {
    "size": "has frames that are too large or damaged: save it again as MP4 at a lower resolution.",
    "codec": "is packed in a way that can't be read here: save it again as MP4 (H.264) and attach that.",
    "no-video": "has sound but no pictures: attach a clip with a video track.",
    "no-frames": "holds no frame that can be read: save or download it again and attach that.",
    **NOTHING_LEFT,
    "unreadable": "is damaged or incomplete: save or download it again as MP4 and attach that.",
    "slow": "takes too long to read: trim it or save it at a lower resolution.",
    "memory": "needs too much memory to read: save it at a lower resolution and attach that.",
}


def _refused(name: str, limits: Limits, code: str, cause: str) -> MediaError:
    log.info("clip refused: %s %s", code, cause)
    if code == "long":
        in_minutes = limits.video_seconds >= 60
        length = count_of(limits.video_seconds / (60 if in_minutes else 1), "minute" if in_minutes else "second")
        return refusal(name, f"is longer than {length}: trim it and attach it again.")
    if code == "pixels":
        most = limits.video_pixels / 1e6
        return refusal(name, f"has frames of more than {most:g} million pixels: save it at a lower resolution.")
    return refusal(name, _SENTENCES.get(code, _SENTENCES["unreadable"]))
