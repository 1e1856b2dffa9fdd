"""How a picture is opened: its size and what its file says of it, and no pixel of it yet. What passed the child process
is opened by the app in the same way, and as small as it was there.

Knows Pillow's plugins and what of them is to be mended. Runs in the child process too and imports nothing of the
project but files beside it.
"""

from __future__ import annotations

import time
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

if TYPE_CHECKING or __package__:
    from ovis_app.media import colour_profiles, decoder_memory
else:  # beside a script
    import colour_profiles
    import decoder_memory

SEVERAL = ("GIF", "PNG", "WEBP", "AVIF")  # formats whose further pictures Pillow counts
LEVELS = {"L;2": 85, "L;4": 17}  # what a step of gray becomes, by how Pillow calls the pixels of a file
JPEG = ("JPEG", "MPO")
HALVED = (*JPEG, "JPEG2000")  # formats that can be read smaller than they are, at little cost
HALVINGS = "halvings"
# Pillow refuses twice as many by itself, and warns of more; whoever opens a picture checks how many it has.
Image.MAX_IMAGE_PIXELS = 240_000_000
MOST_HALVED = 4  # times the pixels that may be read: a phone's 200 million; each takes time
OPEN_SECONDS = 1.0  # of processor time that opening a picture may take; usual ones take a hundredth


def opened(
    file: BinaryIO, formats: list[str] | tuple[str, ...], pixels: int = 0, *, roughly: bool = False
) -> ImageFile.ImageFile:
    """The picture, its pixels not yet decoded. Only Pillow's plugins of these names are tried. One of more than so many
    `pixels`, where they are named, or whose decoder would take too much memory, is read at a half, a quarter or an
    eighth of its size, where its format has that; `roughly`, all of a JPEG is read at an eighth."""
    if "HEIF" in formats:
        _register_heif()
    try:
        picture = Image.open(file, formats=formats)
    except ValueError:  # a PNG's colour profile unpacks to more than Pillow takes
        if "PNG" not in formats:
            raise
        picture = Image.open(_without_profile(file), formats=formats)
    if picture.format == "PNG":
        _scale_key(picture)
    else:
        colour_profiles.complete(picture, file)
    if picture.format in HALVED and pixels:
        _halve(picture, 3 if roughly and picture.format in JPEG else _halvings(picture, file, pixels))
    return picture


def size_of(picture: ImageFile.ImageFile) -> tuple[int, int]:
    """Width and height of the pixels that will be read."""
    halved = 1 << picture.info.get(HALVINGS, 0)
    return -(-picture.width // halved), -(-picture.height // halved)


def _halvings(picture: ImageFile.ImageFile, file: BinaryIO, pixels: int) -> int:
    """How often a picture is to be halved to be read; never, where that doesn't help or would take too long."""
    area = picture.width * picture.height
    if area > MOST_HALVED * pixels:
        return 0
    file.seek(0)
    data = file.read()
    most = 3 if picture.format in JPEG else min(decoder_memory.halvings_in(data), 3)
    fits = (
        one for one in range(most + 1)
        if area <= pixels << 2 * one and decoder_memory.needed(picture, data, one) <= decoder_memory.MOST
    )  # fmt: skip
    return next(fits, 0)


def _halve(picture: ImageFile.ImageFile, times: int) -> None:
    """Has the decoder leave the finest detail out."""
    if picture.format in JPEG:
        picture.draft(None, (max(picture.width >> times, 1), max(picture.height >> times, 1)))
    elif times and isinstance(picture, Jpeg2KImageFile):
        picture.reduce = times
        picture.info[HALVINGS] = times  # its size is the whole one's until it is read


def _scale_key(picture: ImageFile.ImageFile) -> None:
    """Brings the colour that stands for nothing to the depth to which a PNG's pixels are decoded; Pillow leaves it as
    it stands in the file."""
    key, depth = picture.info.get("transparency"), str(picture.tile[0].args) if picture.tile else ""
    if isinstance(key, int) and depth in LEVELS:
        picture.info["transparency"] = key * LEVELS[depth]
    elif isinstance(key, tuple) and depth == "RGB;16B":
        picture.info["transparency"] = tuple(part >> 8 for part in key)


@cache
def _register_heif() -> None:
    import pillow_heif  # few pictures need it

    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=2)


def _without_profile(file: BinaryIO) -> BytesIO:
    """A PNG without its iCCP chunk: each chunk is a length, a name, data and a checksum."""
    file.seek(0)
    data = file.read()
    at = 8
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"iCCP":
            return BytesIO(data[:at] + data[end:])
        at = end
    return BytesIO(data)


def count(picture: Image.Image) -> int:
    """How many pictures the file says that it holds: an animation's frames, or pages."""
    if picture.format not in SEVERAL:
        return 1
    held = int(getattr(picture, "n_frames", 1))
    return held - 1 if getattr(picture, "default_image", False) else held  # an APNG's own picture isn't one of them


def likely(claimed: int, picture: Image.Image, data: bytes) -> int:
    """How many pictures there can be: an APNG may claim billions, and each frame has a header."""
    return min(claimed, max(data.count(b"fcTL"), 1)) if picture.format == "PNG" else claimed


def quickly_opened(data: bytes, formats: list[str], pixels: int) -> ImageFile.ImageFile:
    """The picture, if it opens as fast as all do: the app opens it again, with everybody waiting. Raises
    UnidentifiedImageError for one of a million parts."""
    if "HEIF" in formats:
        _register_heif()
    began = time.process_time()
    picture = opened(BytesIO(data), formats, pixels)
    if time.process_time() - began > OPEN_SECONDS:
        raise UnidentifiedImageError
    return picture
