"""A few rows times a weight, by the way that is fastest for so few on this device.

On a CPU the libraries' product of a single row keeps to one thread, and that of 2 to 15 rows reads a weight at half of
the memory's pace; cut into parts of the weight's rows, as a batch of products, it is up to twice as fast. How many
parts is found out by timing, once for each shape and number of rows. Knows tensors.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

SIZES = (1, 2, 4, 8)  # rows that are timed; a number between counts as the next, more as the last
MOST_ROWS = 15  # with more the plain product is the fastest
PARTS = (128, 64)  # outputs of a part: the first that divides a weight's
TRIES = 5  # of each way
SECONDS = 0.02  # that they may take, for a processor that is busy with other things
SMALL = 1 << 16  # values of a weight, below which calls cost more than products
ENOUGH = 1 << 21  # values of a weight that are timed: the rest takes as long again


class RowProduct:
    """`rows` [rows, inputs] times `weight` [outputs, inputs], transposed, plus `bias` [outputs]."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias = weight, bias
        turned = weight.detach()
        self._turned = turned.t()
        self._cut: list[Tensor | None] = [None] * (MOST_ROWS + 1)  # [parts, inputs, outputs of a part], by rows
        for rows, parts in parts_for(weight).items():
            if parts > 1:
                self._cut[rows] = turned.view(parts, len(weight) // parts, -1).transpose(1, 2)

    def __call__(self, rows: Tensor) -> Tensor:
        """[rows, outputs]."""
        count = rows.shape[0]
        cut = self._cut[count] if count <= MOST_ROWS else None
        if cut is None:
            return torch.mm(rows, self._turned) if self.bias is None else torch.addmm(self.bias, rows, self._turned)
        out = _parts(rows, cut).reshape(count, -1)
        return out if self.bias is None else out.add_(self.bias)

    def added(self, rows: Tensor, to: Tensor) -> Tensor:
        """`to` [rows, outputs] and the product: one call less."""
        count = rows.shape[0]
        cut = self._cut[count] if count <= MOST_ROWS else None
        if self.bias is not None:
            return to + self(rows)
        if cut is None:
            return torch.addmm(to, rows, self._turned)
        return torch.add(to.view(count, len(cut), -1), _parts(rows, cut)).view(count, -1)


def _parts(rows: Tensor, cut: Tensor) -> Tensor:
    """[rows, parts, outputs of a part]."""
    return torch.bmm(rows.expand(len(cut), -1, -1), cut).transpose(0, 1)


def parts_for(weight: Tensor) -> dict[int, int]:
    """Parts to cut a weight into, by rows from 1 to MOST_ROWS; 1 is the plain product."""
    if weight.device.type != "cpu" or weight.numel() < SMALL:
        return {}
    found = _timed(tuple(weight.shape), weight.dtype, torch.get_num_threads())
    counts = range(1, MOST_ROWS + 1)
    return {rows: found[min(size for size in SIZES if size >= min(rows, SIZES[-1]))] for rows in counts}


@cache
def _timed(shape: tuple[int, int], dtype: torch.dtype, threads: int) -> dict[int, int]:
    """The fastest for a shape, by rows. A weight so large that it isn't timed whole is cut into parts of the same size.
    Each try has a weight of its own, of ones: memory of zeros that was never written is read in no time."""
    outputs, inputs = shape
    part = next((part for part in PARTS if outputs % part == 0 and outputs > part), outputs)
    if part == outputs:
        return dict.fromkeys(SIZES, 1)
    timed = min(outputs, max(ENOUGH // inputs // part, 2) * part)
    weights = [torch.ones(timed, inputs, dtype=dtype) for _ in range(TRIES)]
    found = {}
    for rows in SIZES:
        given = torch.ones(rows, inputs, dtype=dtype)
        whole, cut = _seconds(partial(F.linear, given), weights), _seconds(partial(_cut, part, given), weights)
        found[rows] = outputs // part if cut < whole else 1
    return found


def _cut(part: int, rows: Tensor, weight: Tensor) -> Tensor:
    return _parts(rows, weight.view(-1, part, weight.shape[1]).transpose(1, 2)).reshape(len(rows), -1)


def _seconds(product: Callable[[Tensor], Tensor], weights: list[Tensor]) -> float:
    best, left = float("inf"), SECONDS
    for weight in weights:
        begin = time.perf_counter()
        product(weight)
        took = time.perf_counter() - begin
        best, left = min(best, took), left - took
        if left < 0:
            break
    return best
