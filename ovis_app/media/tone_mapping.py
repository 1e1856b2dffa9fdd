"""High dynamic range brought down to what screens and models know. Knows two transfer curves and one table; no files.

Without this, the clips that phones record as HDR look gray and flat: their white is stored at 58 % (PQ) or 75 % (HLG).
"""

from __future__ import annotations

import math
from functools import cache

from PIL import Image, ImageFilter

PQ, HLG = 16, 18  # as video streams number their transfer curves
WHITE_NITS = 203.0  # brightness of white paper in HDR, by ITU-R BT.2408
KNEE = 0.8  # of white; brighter light is squeezed into what is left
GRID = 33  # steps a side of the table

# Linear BT.2020 to linear BT.709, ITU-R BT.2087.
_TO_BT709 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))


def toned(picture: Image.Image, transfer: int) -> Image.Image:
    """The picture for ordinary screens; unchanged unless `transfer` is PQ or HLG."""
    return picture.filter(_table(transfer)) if transfer in (PQ, HLG) else picture


@cache
def _table(transfer: int) -> ImageFilter.Color3DLUT:
    light = _pq_light if transfer == PQ else _hlg_light

    def tone(red: float, green: float, blue: float) -> tuple[float, float, float]:
        linear = light(red, green, blue)
        r, g, b = (_encoded(sum(w * x for w, x in zip(row, linear, strict=True))) for row in _TO_BT709)
        return r, g, b

    return ImageFilter.Color3DLUT.generate(GRID, tone)


def _pq_light(*signal: float) -> list[float]:
    """SMPTE ST 2084 signals to light, 1 for white."""
    return [_pq(value) for value in signal]


def _pq(signal: float) -> float:
    root = signal ** (32 / 2523)
    share = max(root - 3424 / 4096, 0.0) / (2413 / 128 - 2392 / 128 * root)
    return float(10_000 / WHITE_NITS * share ** (16384 / 2610))


def _hlg_light(*signal: float) -> list[float]:
    """ITU-R BT.2100 hybrid log-gamma signals to light on a 1000-nit display, 1 for white."""
    red, green, blue = (_hlg(value) for value in signal)
    gain = (0.2627 * red + 0.6780 * green + 0.0593 * blue) ** 0.2 * 1000 / WHITE_NITS
    return [gain * red, gain * green, gain * blue]


def _hlg(signal: float) -> float:
    a = 0.17883277
    if signal <= 0.5:
        return signal * signal / 3
    return (math.exp((signal - 0.5 + a * math.log(4 * a)) / a) + 1 - 4 * a) / 12


def _encoded(light: float) -> float:
    """Light, 1 for white, to an sRGB signal in 0..1; highlights fade out softly."""
    light = max(light, 0.0)
    if light > KNEE:
        light = 1 - (1 - KNEE) * math.exp((KNEE - light) / (1 - KNEE))
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
