"""Pixels to square tiles, the way of Ovis2 and Ovis1.6: the whole picture, then a grid of its parts.

Which parts those are is in cells.py. Knows PIL and numpy, no files and no models. Source: the preprocessing released
with AIDC-AI/Ovis2 and Ovis1.6.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ovis_app.models.preprocess.cells import best_grid, boxes, fitted
from ovis_app.models.preprocess.pixel_format import PixelFormat
from ovis_app.models.prompt import FIRST_INDICATOR, VISUAL_ATOM

START, WHOLE_END, COLUMN, ROW, END = (FIRST_INDICATOR - i for i in range(5))


def tile_ids(grid: tuple[int, int], tokens: int) -> tuple[int, ...]:
    """Indicators and visual tokens of a picture cut into `grid`, at `tokens` visual tokens a tile."""
    atoms = (VISUAL_ATOM,) * tokens
    rows, columns = grid
    ids = [START, *atoms, WHOLE_END]
    if rows * columns > 1:
        for row in range(rows):
            for column in range(columns):
                ids += [*atoms, *([COLUMN] if column < columns - 1 else [])]
            ids += [ROW] if row < rows - 1 else []
    return (*ids, END)


def tiles(
    image: Image.Image, pixel_format: PixelFormat, *, side: int, max_partition: int
) -> tuple[Tensor, tuple[int, int]]:
    """The whole picture and, if its grid has several parts, those: float32 [tiles, 3, side, side], and the grid."""
    image = image.convert("RGB")
    grid = best_grid(*image.size, side=side, max_partition=max_partition)
    parts = [image.crop(box) for box in boxes(*image.size, grid)] if grid != (1, 1) else []
    return torch.from_numpy(np.stack([_tile(part, pixel_format, side) for part in (image, *parts)])), grid


def _tile(image: Image.Image, pixel_format: PixelFormat, side: int) -> np.ndarray:
    """One tile, its aspect kept, normalised and centred in a square of zeros: [3, side, side]."""
    new_width, new_height = fitted(*image.size, side)
    square = np.zeros((3, side, side), dtype=np.float32)
    top, left = (side - new_height) // 2, (side - new_width) // 2
    square[:, top : top + new_height, left : left + new_width] = pixel_format.values(image, new_width, new_height)
    return square
