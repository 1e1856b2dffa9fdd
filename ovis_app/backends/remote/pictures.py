"""Pictures and clips as the data URIs that a server gets: opened here, resized here, never an address to fetch.

The resolution is chosen on our side, since servers refuse to be told one, and with the filter that the model's family
was trained with. What was encoded is kept for the next turn, which sends the same bytes, so that a prefix
cache finds them. Knows Pillow; refuses to know messages.
"""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ovis_app.conversation import WHOLE_CLIP, Detail, Media
from ovis_app.limits import Limits
from ovis_app.media import digest, open_image, sample_frames
from ovis_app.models.preprocess.pixel_format import DEFAULTS
from ovis_app.models.preprocess.smart_resize import smart_resize
from ovis_app.stop import Stop
from ovis_app.zoo import ModelSpec

FACTOR = 32  # pixels a side of what one visual token sees of Ovis2.5: both sides are multiples of it
TILE = 448  # pixels a side of a tile
TILE_TOKENS = 300  # of a tile at most, its indicators included
SMALL = 1_000_000  # bytes of a PNG that is sent as it is; what is larger is a photograph, and goes as JPEG
KEPT = 64_000_000  # characters of data URIs that are remembered


@dataclass(frozen=True)
class Encoded:
    """A picture or clip, ready to be sent. `tokens` is what it takes of a context at most; `own` and `seen` are its own
    and the sent width and height."""

    part: dict[str, Any]  # of a message's content
    tokens: int
    own: tuple[int, int]
    seen: tuple[int, int]
    times: tuple[float, ...] = ()  # of a clip's frames, in seconds

    @property
    def size(self) -> int:
        return len(self.part[self.part["type"]]["url"])


class Pictures:
    """Encodes media and remembers what it encoded lately. From any thread."""

    def __init__(self, limits: Limits, *, kept: int = KEPT) -> None:
        self._limits, self._most = limits, kept
        self._kept: OrderedDict[tuple[str, Detail, str], Encoded] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, media: Media, spec: ModelSpec, *, several: bool, stop: Stop) -> Encoded:
        """What is sent of a file to this model. Raises MediaError, and Stopped once `stop` is set."""
        detail = spec.detail(media, several=several)
        key = (digest(media), detail, spec.family)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        stop.check()
        encoded = self._encoded(media, detail, spec, stop)
        with self._lock:
            self._kept[key] = encoded
            while self.size > self._most:
                self._kept.popitem(last=False)
        return encoded

    @property
    def size(self) -> int:
        """Characters of what is remembered."""
        return sum(one.size for one in self._kept.values())

    def _encoded(self, media: Media, detail: Detail, spec: ModelSpec, stop: Stop) -> Encoded:
        if detail.frames is None:
            own = open_image(media, self._limits)
            picture = resized([own], detail, spec)[0]
            part: dict[str, Any] = {"type": "image_url", "image_url": {"url": picture_uri(picture)}}
            return Encoded(part, _tokens(picture, detail, tiles=spec.tiles), own.size, picture.size)
        clip = sample_frames(media, detail.frames, self._limits, excerpt=detail.excerpt or WHOLE_CLIP, stop=stop)
        frames = resized(clip.frames, detail, spec)
        url = "data:video/jpeg;base64," + ",".join(_base64(frame, "JPEG") for frame in frames)
        tokens = sum(_tokens(frame, detail, tiles=spec.tiles) for frame in frames)
        part = {"type": "video_url", "video_url": {"url": url}}
        return Encoded(part, tokens, clip.frames[0].size, frames[0].size, clip.times)


def resized(pictures: Sequence[Image.Image], detail: Detail, spec: ModelSpec) -> list[Image.Image]:
    """The pictures at the resolution that the model is to see, all of them at the first one's. Where it cuts tiles,
    none is larger than its tiles together, so that the server cuts no more than were asked for."""
    first = pictures[0]
    width, height = first.size
    if spec.tiles:
        shrink = min(((detail.max_partition or 1) * TILE**2 / (width * height)) ** 0.5, 1.0)
        width, height = max(int(width * shrink), 1), max(int(height * shrink), 1)
    else:
        width, height = _seen(width, height, detail)
    size = (width, height)
    own_filter = DEFAULTS[spec.family].resample
    return [one if one.size == size else one.resize(size, own_filter) for one in pictures]


def _seen(width: int, height: int, detail: Detail) -> tuple[int, int]:
    """The size at which a model of native resolution sees a picture. Where that is below the least, as least and most
    are nearly one, the server would enlarge it: it gets the picture's own shape, and does what is done here."""
    least, most = detail.min_pixels or 0, detail.max_pixels or FACTOR**2
    rows, columns = smart_resize(height, width, factor=FACTOR, min_pixels=least, max_pixels=most)
    if rows * columns >= least:
        return columns, rows
    shrink = min((4 * most / (width * height)) ** 0.5, 1.0)
    return max(round(width * shrink), 1), max(round(height * shrink), 1)


def picture_uri(picture: Image.Image) -> str:
    """A data URI: without loss where that is small, as for drawings and print."""
    exact = _base64(picture, "PNG")
    if len(exact) * 3 // 4 <= SMALL:
        return f"data:image/png;base64,{exact}"
    return f"data:image/jpeg;base64,{_base64(picture, 'JPEG')}"


def _base64(picture: Image.Image, kind: str) -> str:
    held = io.BytesIO()
    how: dict[str, Any] = {"compress_level": 3} if kind == "PNG" else {"quality": 95, "subsampling": 0}
    picture.convert("RGB").save(held, kind, **how)
    return base64.b64encode(held.getbuffer()).decode("ascii")


def _tokens(picture: Image.Image, detail: Detail, *, tiles: bool) -> int:
    if tiles:
        return ((detail.max_partition or 1) + 1) * TILE_TOKENS
    whole = picture.width % FACTOR == picture.height % FACTOR == 0
    return (picture.width * picture.height if whole else 2 * (detail.max_pixels or 0)) // FACTOR**2 + 8
