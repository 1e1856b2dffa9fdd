"""Animations (GIF, APNG, WebP, AVIF) to frames with their times, and to the one frame that stands for them. Knows what
to tell people; the decoding happens in `image_decoder`, in a process that can be killed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from ovis_app.conversation import WHOLE_CLIP, Excerpt
from ovis_app.errors import MediaError
from ovis_app.limits import Limits, count_of, refusal
from ovis_app.media import decoder_process
from ovis_app.media.decoder_failures import reading
from ovis_app.media.file_types import HEAD, Kind, kind_of
from ovis_app.media.opaque import opaque
from ovis_app.stop import NEVER, Stop

log = logging.getLogger(__name__)

FORMATS = ("GIF", "PNG", "WEBP", "AVIF")  # Pillow's names of what can move

Frames = tuple[tuple[Image.Image, ...], tuple[float, ...], float]  # opaque sRGB; begins, and the end, in seconds


def moves(kind: Kind, pictures: int, size: tuple[int, int], limits: Limits) -> bool:
    """Whether a picture file that holds so many pictures of that size is watched as a clip. One that would take too
    long is a picture."""
    area = size[0] * size[1]
    small = area <= limits.video_pixels and area * pictures <= limits.animation_pixels
    return 1 < pictures <= limits.animation_frames and small and kind.formats[0] in FORMATS


def sample_animation(path: Path, name: str, count: int, limits: Limits, excerpt: Excerpt, *, stop: Stop) -> Frames:
    """At most `count` frames, evenly spread over the time, as `sample_frames` of a clip. Raises MediaError, and Stopped
    once `stop` is set."""
    wanted = {"count": count, "side": limits.frame_side, "area": limits.clip_pixels // 2, **asdict(excerpt)}
    return _read(path, name, wanted, limits, stop)


def telling_frame(path: Path, name: str, limits: Limits) -> Image.Image:
    """The first frame that shows something. Raises MediaError."""
    wanted = {"count": 0, "side": 0, "area": limits.video_pixels, **asdict(WHOLE_CLIP)}
    frames, _, _ = _read(path, name, wanted, limits, NEVER)
    return frames[0]


def _read(path: Path, name: str, wanted: Mapping[str, Any], limits: Limits, stop: Stop) -> Frames:
    profile, duration = b"", 0.0
    layered: list[Image.Image] = []
    times: list[float] = []
    refused = partial(_refused, name, limits)
    with reading(name, refused), path.open("rb") as file:
        job = _job(kind_of(file.read(HEAD)), name, limits) | dict(wanted)
        with closing(decoder_process.animation_records(file, job, limits, stop)) as records:
            for record, raw in records:
                if "refused" in record:
                    raise refused(str(record["refused"]), str(record.get("cause", "")))
                if "duration" in record:
                    profile, duration = raw, float(record["duration"])
                else:
                    layered.append(Image.frombytes(record["mode"], tuple(record["size"]), raw))
                    times.append(float(record["time"]))
        if not layered:
            raise refused("no-frames", "")
        return tuple(opaque(layered, profile)), tuple(times), duration


def _job(kind: Kind, name: str, limits: Limits) -> dict[str, Any]:
    if kind.media != "image" or kind.formats[0] not in FORMATS:
        raise refusal(name, kind.advice or "doesn't move: attach it as it is.")
    return {
        "format": kind.formats[0],
        "seconds": limits.video_seconds,
        "memory": limits.image_memory,
        "cpu_seconds": int(limits.decode_seconds * 4) + 1,
    }


NOTHING_LEFT = {
    "past": "is over before the part of it that was chosen: choose an earlier one.",
    "dropped": "has none of its frames left: leave fewer of them out.",
}
_SENTENCES = {
    **NOTHING_LEFT,
    "slow": "takes too long to read: save it as MP4 and attach that.",
    "memory": "needs too much memory to read: save it as MP4 and attach that.",
}


def _refused(name: str, limits: Limits, code: str, cause: str) -> MediaError:
    log.info("animation refused: %s %s", code, cause)
    if code == "long":
        return refusal(name, f"is longer than {count_of(limits.video_seconds / 60, 'minute')}: trim it and try again.")
    sentence = "is damaged or incomplete: save or download it again and attach that."
    return refusal(name, _SENTENCES.get(code, sentence))
