"""Pixels to square tiles, the way of Ovis2 and Ovis1.6: the whole picture, then a grid of its parts.

Knows PIL and numpy, no files and no models. Source: the preprocessing released with AIDC-AI/Ovis2 and Ovis1.6.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ovis_app.models.preprocess.pixel_format import PixelFormat
from ovis_app.models.prompt import FIRST_INDICATOR, VISUAL_ATOM

COVERED = 0.9  # a grid that keeps more than this share of the picture is good enough
START, WHOLE_END, COLUMN, ROW, END = (FIRST_INDICATOR - i for i in range(5))

Box = tuple[int, int, int, int]  # left, upper, right, lower in pixels


def boxes(width: int, height: int, grid: tuple[int, int]) -> list[Box]:
    """The grid's parts, row by row; the last row and column take the remainder of the division."""
    rows, columns = grid
    row_height, column_width = height // rows, width // columns
    return [
        (
            column * column_width,
            row * row_height,
            width if column == columns - 1 else (column + 1) * column_width,
            height if row == rows - 1 else (row + 1) * row_height,
        )
        for row in range(rows)
        for column in range(columns)
    ]


def _covered_area(box: Box, side: int) -> float:
    """Pixels of `box` that are left when it is shrunk to fit a tile."""
    long = max(box[2] - box[0], box[3] - box[1])
    short = min(box[2] - box[0], box[3] - box[1])
    return long * short if long <= side else side * (short / long * side)


def best_grid(width: int, height: int, *, side: int, max_partition: int) -> tuple[int, int]:
    """(rows, columns): the fewest tiles that keep over 90 % of the picture, else those that keep most of it."""
    candidates = [
        (rows, columns)
        for rows in range(1, max_partition + 1)
        for columns in range(1, max_partition + 1)
        if rows * columns <= max_partition
    ]
    ratios = {
        grid: sum(_covered_area(box, side) for box in boxes(width, height, grid)) / (width * height)
        for grid in candidates
    }
    good = [grid for grid in candidates if ratios[grid] > COVERED]
    if good:
        return min(good, key=lambda grid: (grid[0] * grid[1], -ratios[grid]))
    return min(candidates, key=lambda grid: (-ratios[grid], grid[0] * grid[1]))


def seen_size(width: int, height: int, grid: tuple[int, int], *, side: int) -> tuple[int, int]:
    """Width and height that the picture has when its largest part fills a tile."""
    left, upper, right, lower = boxes(width, height, grid)[-1]
    scale = side / max(right - left, lower - upper)
    return max(round(width * scale), 1), max(round(height * scale), 1)


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
    width, height = image.size
    if width >= height:
        new_width, new_height = side, side if width == height else max(int(height / width * side), 1)
    else:
        new_width, new_height = max(int(width / height * side), 1), side
    square = np.zeros((3, side, side), dtype=np.float32)
    top, left = (side - new_height) // 2, (side - new_width) // 2
    square[:, top : top + new_height, left : left + new_width] = pixel_format.values(image, new_width, new_height)
    return square
