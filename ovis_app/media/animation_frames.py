"""The frames of an animated picture, as a browser shows them.

Knows when frames begin and which are wanted; refuses to know where a file came from. Runs in the child process and
imports nothing of the project but files beside it.
"""

from __future__ import annotations

import math
import struct
import time
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING or __package__:
    from ovis_app.media import gif_frames
    from ovis_app.media.colour_profiles import MOST_PROFILE
    from ovis_app.media.picture_opening import count, likely, opened
else:  # beside a script
    import gif_frames
    from colour_profiles import MOST_PROFILE
    from picture_opening import count, likely, opened

SHORTEST, USUAL = 10, 100  # milliseconds: a frame that says to stay no longer than the one stays the other, in browsers
SAME_MOMENT = 0.0005  # seconds between two ways to write when a frame begins
BLANK = 8  # of 255: a frame whose values differ by no more shows nothing
TRY_SECONDS = 2.0  # of processor time that all frames of an animation are tried for
TRIED = 64  # frames that are looked at for one that shows something


class Refused(Exception):
    """The animation can't be read; the text is one of the codes that `animation.py` has a sentence for."""


def frames(data: bytes, job: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """First the colour profile and how long the animation takes, then its frames, composed as a browser shows them: as
    many as were asked for, or the first that shows something where none were. Raises Refused."""
    with opened(BytesIO(data), [job["format"]]) as picture:
        shown: dict[int, Image.Image]
        starts: list[float]
        shown, starts = _sampled(picture, data, job) if job["count"] else (_telling(picture, data, job), [0.0, 0.0])
        profile = picture.info.get("icc_profile") or b""
        profile = profile if len(profile) <= MOST_PROFILE else b""
        yield {"duration": starts[-1] / 1000, "bytes": len(profile)}, profile
        for number, frame in sorted(shown.items()):
            raw = frame.tobytes()
            record = {"time": starts[number] / 1000 if job["count"] else 0.0, "mode": frame.mode, "size": frame.size}
            yield {**record, "bytes": len(raw)}, raw


def _sampled(picture: Image.Image, data: bytes, job: dict[str, Any]) -> tuple[dict[int, Image.Image], list[float]]:
    """The frames on screen in the middle of `count` equal parts of the time, by their numbers, and when each begins,
    the end last. Nobody knows how long frames stay before all were decoded: where they don't stay equally long, the
    file is read once more."""
    total = likely(count(picture), picture, data)
    wanted = _wanted([USUAL] * total, job)
    shown, stays = _read(picture, data, wanted, total, job)
    if not stays:
        raise Refused("no-frames")
    starts = list(accumulate(stays, initial=0.0))
    if job["start"] * 1000 >= starts[-1]:
        raise Refused("past")
    wanted = [number for number in _wanted(stays, job) if not _dropped(starts[number] / 1000, job)]
    if not wanted:
        raise Refused("dropped")
    if not shown.keys() >= set(wanted):
        shown, _ = _read(picture, data, wanted, wanted[-1] + 1, job)
    if sum(stays) > job["seconds"] * 1000:
        raise Refused("long")
    return {number: shown[number] for number in wanted if number in shown}, starts


def _dropped(time: float, job: dict[str, Any]) -> bool:
    """Whether a frame that begins then is to be left out."""
    return any(abs(time - one) < SAME_MOMENT for one in job["dropped"])


def _wanted(stays: Sequence[float], job: dict[str, Any]) -> list[int]:
    """Numbers of as many frames as are wanted, evenly over the time between start and end, none twice; all of them
    where there are no more."""
    most, ends = job["count"], list(accumulate(stays))
    begins = job["start"] * 1000
    over = ends[-1] if job["end"] is None else min(job["end"] * 1000, ends[-1])
    first = min(bisect_right(ends, begins), len(ends) - 1)
    latest = max(min(bisect_left(ends, over) + 1, len(ends)), first + 1)
    if latest - first <= most:
        return list(range(first, latest))
    wanted = [bisect_right(ends, begins + (part + 0.5) * (over - begins) / most) for part in range(most)]
    for place in range(1, most):
        wanted[place] = max(wanted[place], wanted[place - 1] + 1)
    for place in reversed(range(most)):
        latest = wanted[place] = min(wanted[place], latest - 1)
    return wanted


def _on_screen(picture: Image.Image, data: bytes) -> Iterator[tuple[Image.Image, float]]:
    """What is on screen, frame by frame, and for how many milliseconds. A file that is cut off ends early."""
    with suppress(EOFError, OSError, ValueError, SyntaxError, IndexError, RuntimeError, struct.error):
        if picture.format == "GIF":
            yield from gif_frames.composed(data, picture.size)
            return
        first = 1 if getattr(picture, "default_image", False) else 0
        for number in range(first, first + count(picture)):
            picture.seek(number)
            picture.load()
            yield picture, float(picture.info.get("duration") or 0)


def _read(
    picture: Image.Image, data: bytes, wanted: Collection[int], total: int, job: dict[str, Any]
) -> tuple[dict[int, Image.Image], list[float]]:
    """The wanted ones of the first `total` frames, and for how many milliseconds each stays."""
    shown: dict[int, Image.Image] = {}
    stays: list[float] = []
    for number, (frame, stay) in zip(range(total), _on_screen(picture, data), strict=False):
        stays.append(stay if SHORTEST < stay < math.inf else USUAL)
        if number in wanted:
            shown[number] = _scaled(frame, job["side"], job["area"] / len(wanted))
    return shown, stays


def _telling(picture: Image.Image, data: bytes, job: dict[str, Any]) -> dict[int, Image.Image]:
    """The first frame that shows something, else the first."""
    found: Image.Image | None = None
    tried = max(min(TRIED, job["area"] // (picture.width * picture.height)), 1)
    for _, (whole, _) in zip(range(tried), _on_screen(picture, data), strict=False):
        frame = _scaled(whole, max(picture.size), job["area"])
        if _shows(frame):
            return {0: frame}
        found = found or frame
    if found is None:
        raise Refused("no-frames")
    return {0: found}


def _scaled(picture: Image.Image, side: int, area: float) -> Image.Image:
    """A copy as RGB or RGBA, no larger than that."""
    clear = picture.has_transparency_data
    if clear and picture.mode == "RGBA":
        clear = picture.getchannel("A").getextrema() != (255, 255)
    frame = picture.convert("RGBA" if clear else "RGB")
    shrink = min(1.0, side / max(frame.size), math.sqrt(area / (frame.width * frame.height)))
    if shrink == 1.0:
        return frame
    width, height = (max(1, int(length * shrink)) for length in frame.size)
    return frame.resize((width, height), Image.Resampling.BOX)


def _shows(frame: Image.Image) -> bool:
    """Whether there is anything to see: no single colour, not all transparent."""
    extrema: Any = frame.getextrema()
    spans = [high - low for low, high in extrema]
    if frame.mode == "RGBA":
        if extrema[-1][1] <= BLANK:
            return False
        if spans.pop() > BLANK:
            return True
    return bool(max(spans) > BLANK)


def frames_there(data: bytes, formats: list[str], held: int) -> int:
    """How many of its frames an animation has, each decoded; what would take long to try is believed."""
    with opened(BytesIO(data), formats) as picture:
        began, tried = time.process_time(), 0
        for tried, _ in enumerate(_on_screen(picture, data), 1):  # noqa: B007 - the last number counts
            if time.process_time() - began > TRY_SECONDS:
                return held
    if not tried:
        raise ValueError("no frame")
    return min(tried, held)
