"""A decoded picture or clip, and what a family makes of it. Values only: no files, no models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PIL import Image
from torch import Tensor

Grid = tuple[int, int, int]  # frames, patch rows, patch columns


@dataclass(frozen=True)
class Visual:
    """One picture (a single frame) or one clip, with the limits that it was sent with."""

    kind: Literal["image", "video"]
    frames: tuple[Image.Image, ...]
    min_pixels: int = 1  # Ovis2.5: area that the model sees, per frame
    max_pixels: int = 1 << 26
    max_partition: int = 9  # Ovis2 and 1.6: tiles of one picture at most


@dataclass(frozen=True)
class Pixels:
    """What stands in a prompt's place: pixels for the tower, and the ids around and of its visual tokens."""

    values: Tensor  # [patches, values] of Ovis2.5, [tiles, 3, side, side] of Ovis2 and 1.6; float32
    grids: tuple[Grid, ...]  # of Ovis2.5; empty for tiles
    ids: tuple[int, ...]  # indicators, and VISUAL_ATOM once a visual token
    tokens: int  # visual tokens among them
    seen: tuple[int, int] = (0, 0)  # width and height at which the model sees the picture, or each frame


@dataclass(frozen=True)
class Outline:
    """The same as a `Visual` without its pixels: the size of each frame, width and height."""

    kind: Literal["image", "video"]
    sizes: tuple[tuple[int, int], ...]
    min_pixels: int = 1
    max_pixels: int = 1 << 26
    max_partition: int = 9
