"""Which part of a picture each visual token covers. Knows arithmetic alone, so that it lives without torch.

A grid of tiles is chosen as the preprocessing released with AIDC-AI/Ovis2 and Ovis1.6 does.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from ovis_app.conversation import Detail
from ovis_app.models.preprocess.smart_resize import smart_resize
from ovis_app.sight import Cells, Sight

COVERED = 0.9  # a grid that keeps more than this share of the picture is good enough

Box = tuple[int, int, int, int]  # left, upper, right, lower in pixels


@dataclass(frozen=True)
class Layout:
    """How a checkpoint divides what it sees: `cell` is the side in pixels of what one visual token covers. Where it
    cuts tiles, those have a side of `tile` pixels and `across` visual tokens in a row."""

    cell: int
    tile: int = 0
    across: int = 0


# Those of the released checkpoints, by family.
LAYOUTS = MappingProxyType(
    {"ovis1_6": Layout(28, 384, 14), "ovis2": Layout(28, 448, 16), "ovis2_5": Layout(32), "ovis2_6": Layout(32)}
)


def sight(layout: Layout, size: tuple[int, int], detail: Detail) -> Sight:
    """A picture of this width and height as such a checkpoint sees it; `detail` is complete."""
    if layout.tile:
        return _in_tiles(layout, size, detail.max_partition or 1)
    width, height = size
    seen_height, seen_width = smart_resize(
        height, width, factor=layout.cell, min_pixels=detail.min_pixels or 1, max_pixels=detail.max_pixels or 1
    )
    cells = Cells(0, 0, 1, 1, seen_height // layout.cell, seen_width // layout.cell)
    return Sight(size, size, (seen_width, seen_height), (cells,))


def _in_tiles(layout: Layout, size: tuple[int, int], most: int) -> Sight:
    """The whole picture, then its parts where the grid has several."""
    width, height = size
    grid = best_grid(width, height, side=layout.tile, max_partition=most)
    parts = boxes(width, height, grid) if grid != (1, 1) else []
    cells = [_tile(layout, (0, 0, width, height), size, tile=False)]
    cells += [_tile(layout, part, size, tile=True) for part in parts]
    return Sight(size, size, seen_size(width, height, grid, side=layout.tile), tuple(cells))


def _tile(layout: Layout, part: Box, size: tuple[int, int], *, tile: bool) -> Cells:
    """The square of visual tokens that a part is centred in. What is past a tile's last patch isn't looked at, and past
    its last whole row of visual tokens stands nothing."""
    left, upper, right, lower = part
    inner_width, inner_height = fitted(right - left, lower - upper, layout.tile)
    margin_left, margin_top = (layout.tile - inner_width) // 2, (layout.tile - inner_height) // 2
    across, down = (
        (right - left) / inner_width,
        (lower - upper) / inner_height,
    )  # pixels of the picture in one of a tile
    reach = layout.cell * layout.across
    return Cells(
        (left - margin_left * across) / size[0],
        (upper - margin_top * down) / size[1],
        (left + (reach - margin_left) * across) / size[0],
        (upper + (reach - margin_top) * down) / size[1],
        layout.across,
        layout.across,
        tile,
    )


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height of a part that fills a tile of this side, its aspect kept."""
    if width >= height:
        return side, side if width == height else max(int(height / width * side), 1)
    return max(int(width / height * side), 1), side


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
