"""Decoded pictures of any mode to opaque sRGB: colour profiles, transparency and deep gray, each in one place.

Knows Pillow's modes; knows no files. Works in strips, so that a large picture takes little more than its own memory and
its copy's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ovis_app.media.colour_profiles import srgb_transform
from ovis_app.media.tone_mapping import HLG, PQ, toned

T = TypeVar("T")

Colour = tuple[int, int, int]
Span = tuple[float, float] | None  # the least and the greatest value of deep gray
WHITE, BLACK, GRAY = (255, 255, 255), (0, 0, 0), (128, 128, 128)
STRIP = 1_000_000  # pixels that are converted at a time
_T = Image.Transpose
SIDEWAYS = (_T.TRANSPOSE, _T.ROTATE_270, _T.TRANSVERSE, _T.ROTATE_90)  # turns after which rows are columns
BACKWARDS = (_T.ROTATE_180, _T.FLIP_TOP_BOTTOM, _T.ROTATE_270, _T.TRANSVERSE)  # and after which the first row is last
VISIBLE = 128  # the least alpha of what counts as drawn
LOST = 0.25  # share of a drawing's outline that may be as light as white paper

Levels = np.ndarray[Any, np.dtype[np.float64]]  # how much there is of each of 256 lightnesses


def opaque(pictures: Sequence[Image.Image], profile: bytes | None) -> list[Image.Image]:
    """Copies as RGB in sRGB. Where they have transparent parts, one background lies behind all of them: white, or what
    contrasts with a drawing that white would hide. 16-bit values are scaled to 8, and a profile that is broken or
    not of the pictures' colours is passed over."""
    spans = [_span(picture) for picture in pictures]
    background = _background(pictures, spans)
    results = []
    for picture, span in zip(pictures, spans, strict=True):
        results.append(Image.new("RGB", picture.size))
        for top, strip in _flat(picture, span, profile, background):
            results[-1].paste(strip, (0, top))
    return results


def upright_opaque(
    picture: Image.Image, profile: bytes | None, turn: Image.Transpose | None, transfer: int
) -> Image.Image:
    """The same of one picture, which is turned, toned and closed or changed: of a large one only its pixels and their
    bytes as RGB are in memory together, and then those bytes and the result."""
    width, height = picture.size
    span = _span(picture)
    flat = _flat(picture, span, profile, _background([picture], [span]))
    if turn is None and picture.mode == "RGB" and "transparency" not in picture.info:
        if transfer in (PQ, HLG) or _transform("RGB", profile)[1] is not None:
            for top, strip in flat:
                picture.paste(toned(strip, transfer), (0, top))
        picture.info = {}  # a comment would be written into copies
        return picture
    packed = [(top, strip.size, toned(strip, transfer).tobytes()) for top, strip in flat]
    picture.close()
    result = Image.new("RGB", (height, width) if turn in SIDEWAYS else (width, height), None)
    for top, size, raw in _taken(packed):
        strip = Image.frombytes("RGB", size, raw)
        begins = height - top - size[1] if turn in BACKWARDS else top
        strip = strip if turn is None else strip.transpose(turn)
        result.paste(strip, (begins, 0) if turn in SIDEWAYS else (0, begins))
    return result


def _taken(parts: list[T]) -> Iterator[T]:
    """The parts from the last on, each gone from the list."""
    while parts:
        yield parts.pop()


def _layered(picture: Image.Image, span: Span) -> Image.Image:
    """The picture as L, LA, RGB, RGBA, CMYK or LAB; itself where it is one of these and no colour of it stands for
    transparency."""
    if span is not None:
        return _keyed(picture, _scaled_gray(picture, *span))
    if picture.mode == "1":
        return _keyed(picture, picture.convert("L"), 255)
    if picture.mode in ("L", "RGB"):
        if "transparency" not in picture.info:
            return picture
        return _keyed(picture, picture) if picture.mode == "L" else picture.convert("RGBA")
    if picture.mode in ("LA", "RGBA", "CMYK", "LAB"):
        return picture
    if picture.mode == "La":
        return picture.convert("LA")
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _keyed(picture: Image.Image, gray: Image.Image, scale: int = 1) -> Image.Image:
    """The gray picture, transparent where the original has the value that its file names for that."""
    key = picture.info.get("transparency")
    if not isinstance(key, int):
        return gray
    drawn = np.asarray(picture.convert("L") if picture.mode == "1" else picture) != key * scale
    layered = gray.convert("L") if gray is not picture else gray.copy()
    layered.info.pop("transparency", None)
    layered.putalpha(Image.fromarray(drawn.astype(np.uint8) * 255))
    return layered


def _scaled_gray(picture: Image.Image, low: float, high: float) -> Image.Image:
    """Deep gray as 8 bits: 16-bit values by their high byte; others stretched from their least to their greatest."""
    values = _values(picture)
    if picture.mode != "F" and low >= 0 and high <= 0xFFFF:
        gray = values.astype(np.int32) >> 8
    else:
        gray = (values.astype(np.float32) - low) * (255.0 / (high - low or 1.0))
    return Image.fromarray(gray.astype(np.uint8))


def _span(picture: Image.Image) -> Span:
    """The least and the greatest value of deep gray, None for other pictures."""
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return None
    spans = [(values.min(), values.max()) for values in (_values(strip) for _, strip in _strips(picture))]
    return float(min(least for least, _ in spans)), float(max(greatest for _, greatest in spans))


def _values(picture: Image.Image) -> Any:
    """Deep gray's values, what isn't a number as 0."""
    values = np.asarray(picture)
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0) if picture.mode == "F" else values


# --- transparency ---------------------------------------------------------------------------------------------------


def _background(pictures: Sequence[Image.Image], spans: Sequence[Span]) -> Colour:
    """What lies behind transparent parts: white, unless much of the outline of what is drawn is as light; then what the
    least of it is near to. Where nothing has an outline, all that is drawn decides."""
    outline, drawn = np.zeros(256), np.zeros(256)
    for picture, span in zip(pictures, spans, strict=True):
        if picture.has_transparency_data:
            for _, strip in _strips(picture):
                _add_levels(_layered(strip, span), outline, drawn)
    levels = outline if outline.any() else drawn
    if not levels.any():
        return WHITE
    share = levels / levels.sum()
    dark, middle, light = share[:64].sum(), share[64:192].sum(), share[192:].sum()
    if light <= LOST:
        return WHITE
    return min(((light, 0, WHITE), (dark, 1, BLACK), (middle, 2, GRAY)))[2]


def _add_levels(strip: Image.Image, outline: Levels, drawn: Levels) -> None:
    if strip.mode not in ("LA", "RGBA"):  # what stands for nothing makes no sense
        return
    alpha, light = np.asarray(strip.getchannel("A")), np.asarray(strip.convert("L"))
    drawn += np.bincount(light.ravel(), weights=alpha.ravel(), minlength=256)
    seen = alpha >= VISIBLE
    if seen.all():
        return
    inner = seen.copy()  # what has drawn pixels on all four sides, or the picture's border
    inner[1:] &= seen[:-1]
    inner[:-1] &= seen[1:]
    inner[:, 1:] &= seen[:, :-1]
    inner[:, :-1] &= seen[:, 1:]
    outline += np.bincount(light[seen & ~inner], minlength=256)


# --- colours --------------------------------------------------------------------------------------------------------


def _transform(mode: str, profile: bytes | None) -> tuple[str, Any]:
    """The mode that colours are brought to first, and what makes them sRGB then; None where they are. Gray pictures
    with a profile of RGB are common."""
    colours = mode.removesuffix("A") if mode in ("LA", "RGBA") else mode
    for first in dict.fromkeys((colours, "RGB")):
        transform = srgb_transform(profile, first)
        if transform is not None:
            return first, transform
    return ("LAB", srgb_transform(None, "LAB")) if mode == "LAB" else ("RGB", None)


def _flat(
    picture: Image.Image, span: Span, profile: bytes | None, background: Colour
) -> Iterator[tuple[int, Image.Image]]:
    """Strips of the picture as RGB in sRGB on the background, each with its place."""
    found: tuple[str, Any] | None = None
    for top, part in _strips(picture):
        strip = _layered(part, span)
        layered = strip.mode in ("LA", "RGBA")
        first, transform = found = found or _transform(strip.mode, profile)
        colours = strip if strip.mode == first else strip.convert(first)
        colours = colours if transform is None else transform.apply(colours)
        if layered:
            flat = Image.new("RGB", strip.size, background)
            flat.paste(colours, mask=strip.getchannel("A"))
            yield top, flat
        else:
            yield top, colours


def _strips(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Rows of the picture from top to bottom, each strip with its place."""
    rows = max(STRIP // picture.width, 1)
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))
