"""Decoded pictures of any mode to opaque sRGB: colour profiles, transparency and deep gray, each in one place.

Knows Pillow's modes; knows no files. Works in strips, so that a large picture takes little more than its own memory and
its copy's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ovis_app.media.image_decoder import srgb_transform

Colour = tuple[int, int, int]
WHITE, BLACK, GRAY = (255, 255, 255), (0, 0, 0), (128, 128, 128)
STRIP = 4_000_000  # pixels that are converted at a time
VISIBLE = 128  # the least alpha of what counts as drawn
LOST = 0.25  # share of a drawing's outline that may be as light as white paper

Levels = np.ndarray[Any, np.dtype[np.float64]]  # how much there is of each of 256 lightnesses


def opaque(pictures: Sequence[Image.Image], profile: bytes | None) -> list[Image.Image]:
    """Copies as RGB in sRGB. Where they have transparent parts, one background lies behind all of them: white, or what
    contrasts with a drawing that white would hide. 16-bit values are scaled to 8, and a profile that is broken or
    not of the pictures' colours is passed over."""
    layered = [_layered(picture) for picture in pictures]
    background = _background(layered)
    return [_flat(picture, profile, background) for picture in layered]


def _layered(picture: Image.Image) -> Image.Image:
    """The picture as L, LA, RGB, RGBA, CMYK or LAB; itself where it is one of these and no colour of it stands for
    transparency."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _keyed(picture, _scaled_gray(picture))
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


def _scaled_gray(picture: Image.Image) -> Image.Image:
    """Deep gray as 8 bits: 16-bit values by their high byte; others stretched from their least to their greatest."""
    spans = [(values.min(), values.max()) for _, values in _values(picture)]
    low, high = float(min(least for least, _ in spans)), float(max(greatest for _, greatest in spans))
    scaled = Image.new("L", picture.size)
    for top, values in _values(picture):
        if picture.mode != "F" and low >= 0 and high <= 0xFFFF:
            gray = values.astype(np.int32) >> 8
        else:
            gray = (values.astype(np.float32) - low) * (255.0 / (high - low or 1.0))
        scaled.paste(Image.fromarray(gray.astype(np.uint8)), (0, top))
    return scaled


def _values(picture: Image.Image) -> Iterator[tuple[int, Any]]:
    """A deep picture's values in strips, what isn't a number as 0."""
    for top, strip in _strips(picture):
        values = np.asarray(strip)
        yield top, np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0) if picture.mode == "F" else values


# --- transparency ---------------------------------------------------------------------------------------------------


def _background(pictures: Sequence[Image.Image]) -> Colour:
    """What lies behind transparent parts: white, unless much of the outline of what is drawn is as light; then what the
    least of it is near to. Where nothing has an outline, all that is drawn decides."""
    outline, drawn = np.zeros(256), np.zeros(256)
    for picture in pictures:
        if picture.mode in ("LA", "RGBA"):
            for _, strip in _strips(picture):
                _add_levels(strip, outline, drawn)
    levels = outline if outline.any() else drawn
    if not levels.any():
        return WHITE
    share = levels / levels.sum()
    dark, middle, light = share[:64].sum(), share[64:192].sum(), share[192:].sum()
    if light <= LOST:
        return WHITE
    return min(((light, 0, WHITE), (dark, 1, BLACK), (middle, 2, GRAY)))[2]


def _add_levels(strip: Image.Image, outline: Levels, drawn: Levels) -> None:
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


def _flat(picture: Image.Image, profile: bytes | None, background: Colour) -> Image.Image:
    first, transform = _transform(picture.mode, profile)
    layered = picture.mode in ("LA", "RGBA")
    if transform is None and not layered:
        return picture.convert("RGB")
    result = Image.new("RGB", picture.size, background)
    for top, strip in _strips(picture):
        colours = strip if strip.mode == first else strip.convert(first)
        colours = colours if transform is None else transform.apply(colours)
        result.paste(colours, (0, top), mask=strip.getchannel("A") if layered else None)
    return result


def _strips(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Rows of the picture from top to bottom, each strip with its place."""
    rows = max(STRIP // picture.width, 1)
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))
