"""How a checkpoint wants its pixels: the filter that resizes them, then the scale, mean and std that make them numbers.

Knows preprocessor_config.json's names for these, and what each generation does where the file says nothing. Refuses to
know sizes, patches and tiles.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

Channels = tuple[float, ...]  # red, green, blue
MOST, LEAST = 1e6, 1e-6  # no number is above the one; what multiplies or divides isn't below the other


@dataclass(frozen=True)
class PixelFormat:
    """A picture is resized with a filter, and each of its values becomes (value * rescale_factor - mean) / std."""

    resample: Image.Resampling
    mean: Channels = (0.5, 0.5, 0.5)
    std: Channels = (0.5, 0.5, 0.5)
    rescale_factor: float = 1 / 255

    @classmethod
    def read(cls, facts: Mapping[str, Any], family: str) -> PixelFormat:
        """What a preprocessor_config.json says, and the family's own where it says nothing. Raises ValueError, which
        names the fact, for what makes no sense."""
        own = DEFAULTS[family]
        rescaled, normalised = _switch(facts, "do_rescale"), _switch(facts, "do_normalize")
        return cls(
            _filter(facts, own.resample),
            _channels(facts, "image_mean", own.mean) if normalised else (0.0, 0.0, 0.0),
            _channels(facts, "image_std", own.std, least=LEAST) if normalised else (1.0, 1.0, 1.0),
            _factor(facts, own.rescale_factor) if rescaled else 1.0,
        )

    def values(self, image: Image.Image, width: int, height: int) -> np.ndarray:
        """An RGB picture at another size: float32 [3, height, width]."""
        bands = image.resize((width, height), self.resample).split()
        return np.stack([np.take(row, np.asarray(band)) for row, band in zip(self._table(), bands, strict=True)])

    def _table(self) -> np.ndarray:
        """What the 256 values of a pixel become, [3, 256]: the roundings of the original, in double precision first."""
        scaled = (np.arange(256, dtype=np.float64) * self.rescale_factor).astype(np.float32)
        mean, std = (np.array(numbers, dtype=np.float32)[:, None] for numbers in (self.mean, self.std))
        return (scaled - mean) / std


DEFAULTS = {  # by family
    "ovis2_5": PixelFormat(Image.Resampling.BILINEAR),
    "ovis2_6": PixelFormat(Image.Resampling.BILINEAR),
    "ovis2": PixelFormat(
        Image.Resampling.BICUBIC,
        mean=(0.48145466, 0.4578275, 0.40821073),  # CLIP's
        std=(0.26862954, 0.26130258, 0.27577711),
    ),
    "ovis1_6": PixelFormat(Image.Resampling.BICUBIC),
    "ovis_ocr2": PixelFormat(Image.Resampling.BICUBIC),
}


def _filter(facts: Mapping[str, Any], default: Image.Resampling) -> Image.Resampling:
    """Pillow's filter of a number."""
    value = facts.get("resample")
    if value is None:
        return default
    if type(value) is not int or value not in list(Image.Resampling):
        raise _nonsense("resample", value)
    return Image.Resampling(value)


def _channels(facts: Mapping[str, Any], name: str, default: Channels, *, least: float = -MOST) -> Channels:
    """A number for each channel; one alone is for all three."""
    value = facts.get(name)
    if value is None:
        return default
    numbers = value if isinstance(value, list) else [value] * 3
    if len(numbers) != 3 or not all(_sensible(number, least) for number in numbers):
        raise _nonsense(name, value)
    return tuple(map(float, numbers))


def _factor(facts: Mapping[str, Any], default: float) -> float:
    value = facts.get("rescale_factor")
    if value is None:
        return default
    if not _sensible(value, LEAST):
        raise _nonsense("rescale_factor", value)
    return float(value)


def _switch(facts: Mapping[str, Any], name: str) -> bool:
    """A step that is taken unless it is switched off."""
    value = facts.get(name)
    if value is not None and not isinstance(value, bool):
        raise _nonsense(name, value)
    return value is not False


def _sensible(value: object, least: float) -> bool:
    """Whether it is a number between two that pixels can be computed with; NaN is between none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= MOST


def _nonsense(name: str, value: object) -> ValueError:
    return ValueError(f"{name} is {reprlib.repr(value)}")
