"""How much memory Pillow's decoders take for a picture, told from its headers before they are run.

Knows formats and what was measured of their decoders; decodes nothing. Runs in the child process too and imports
nothing of the project.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from PIL import ImageFile

MOST = 400_000_000  # bytes that a decoder may take, the picture included
WEBP = 16  # bytes that its decoder takes for a pixel, those of the picture included
AVIF = 10.5  # the same, and more for a transparent picture
HEIF = {(420, 8): 7.3, (420, 10): 8.0, (444, 8): 9.4}  # the same by chroma and depth
DEEP_HEIF = 15.5  # and for all others
ALPHA = 1.0
SMALL = {"1": 1, "L": 1, "P": 1}  # bytes of a pixel in memory, by mode; two where it begins with I;16, else four
SIZ = b"\xff\x4f\xff\x51"  # how a codestream of JPEG 2000 begins
COD = b"\xff\x52\0"  # where it says how often its picture was halved
NO_FRAMES = (0xC4, 0xC8, 0xCC)  # markers of a JPEG among those of frames that aren't any
LIBTIFF = "libtiff"
ROWS, SAMPLES, BITS, PLANAR, TILE_WIDTH, TILE_HEIGHT, TURNED = 278, 277, 258, 284, 322, 323, 274  # tags of a TIFF


def needed(picture: ImageFile.ImageFile, data: bytes, halvings: int = 0) -> float:
    """The bytes that decoding an opened picture takes at most, its pixels included and its file not; where it is read
    smaller, so often halved."""
    area = picture.width * picture.height / (1 << 2 * halvings)
    own = area * (2 if picture.mode.startswith("I;16") else SMALL.get(picture.mode, 4))
    match picture.format:
        case "JPEG" | "MPO":
            return own + _coefficients(data)
        case "JPEG2000":
            return own + _codestream(picture, data) / (1 << 2 * halvings) + len(data) * (halvings > 0)
        case "TIFF":
            return own + _strip(picture) + (own if _tags(picture).get(TURNED, 1) != 1 else 0)
        case "WEBP":
            return WEBP * area
        case "AVIF":
            return (AVIF + ALPHA * (picture.mode == "RGBA")) * area
        case "HEIF":
            kind = picture.info.get("chroma", 0), picture.info.get("bit_depth", 0)
            return (HEIF.get(kind, DEEP_HEIF) + ALPHA * (picture.mode == "RGBA")) * area
        case _:
            return own


def webp_pixels(data: bytes) -> int:
    """The pixels that a WebP says it has, 0 for other files: its decoder takes memory for all of them before Pillow can
    ask. Its container's three kinds of first chunk: developers.google.com/speed/webp/docs/riff_container."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return 0
    if data[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return width * height


def halvings_in(data: bytes) -> int:
    """How often a JPEG 2000 can be read at half its size. Layout of the marker COD: ITU-T T.800, A.6.1."""
    at = data.find(COD, max(data.find(SIZ), 0))
    return data[at + 9] if 0 <= at < len(data) - 9 else 0


def _coefficients(data: bytes) -> float:
    """Bytes that a JPEG's decoder keeps of several scans, since each scan adds to all of the picture, however small it
    is read: two for each coefficient. None are kept where one scan holds all. Markers: ITU-T T.81, annex B."""
    at, several, held, components = 2, False, 0.0, 0
    while data[at : at + 1] == b"\xff" and at + 10 < len(data):
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a marker may begin with several
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in NO_FRAMES:
            several, components = marker & 3 == 2, data[at + 9]
            factors = [(one >> 4, one & 15) for one in data[at + 11 : at + 10 + 3 * components : 3]]
            most = max((across for across, _ in factors), default=1) * max((down for _, down in factors), default=1)
            high, wide = struct.unpack_from(">2H", data, at + 5)
            held = 2.0 * high * wide * sum(across * down for across, down in factors) / max(most, 1)
        elif marker == 0xDA:
            return held if several or data[at + 4] < components else 0.0
        at += 2 + length
    return held


def _codestream(picture: ImageFile.ImageFile, data: bytes) -> float:
    """What OpenJPEG takes beside the picture: four bytes for each value of a tile, and each value as it is handed on.
    Layout of the marker SIZ: ITU-T T.800, A.5.1."""
    area, tile, values, size = picture.width * picture.height, 0, len(picture.getbands()), 1
    at = data.find(SIZ) + 4
    with suppress(struct.error):
        wide, high = struct.unpack_from(">2I", data, at + 20)
        tile = min(wide, picture.width) * min(high, picture.height)
        [values] = struct.unpack_from(">H", data, at + 36)
        depths = data[at + 38 : at + 38 + 3 * values : 3]
        size = 2 if any(depth & 0x7F > 7 for depth in depths) else 1
    return float(values * (size * area + 4 * (tile or area)))


def _tags(picture: ImageFile.ImageFile) -> Mapping[int, Any]:
    return getattr(picture, "tag_v2", {})


def _strip(picture: ImageFile.ImageFile) -> float:
    """The largest piece of a TIFF that is unpacked at once."""
    tags = _tags(picture)
    if not picture.tile or picture.tile[0][0] != LIBTIFF:
        return 0.0
    with suppress(TypeError, ValueError):
        if TILE_WIDTH in tags:
            pixels = int(tags[TILE_WIDTH]) * int(tags.get(TILE_HEIGHT, 1))
        else:
            pixels = picture.width * min(int(tags.get(ROWS, picture.height)), picture.height)
        samples = 1 if tags.get(PLANAR, 1) == 2 else int(tags.get(SAMPLES, 1))
        return float(pixels * samples * max(tags.get(BITS, (1,))) / 8)
    return 0.0
