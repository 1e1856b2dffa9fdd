"""Rows times a weight, by the way that is fastest for so few rows on this device.

On a CPU the libraries' product of a single row keeps to one thread; cut into parts of the weight's rows, as a batch of
products, it uses all of them. Which way and how many parts is found out by timing, once for each shape. Knows tensors.
"""

from __future__ import annotations

import time
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

PARTS = (2, 4, 8, 16)  # that a weight's rows are cut into
TRIES = 5
SMALL = 1 << 16  # values of a weight, below which calls cost more than products


class RowProduct:
    """`rows` [rows, inputs] times `weight` [outputs, inputs], transposed, plus `bias` [outputs]."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias = weight, bias
        self._parts = parts_for(weight)
        if self._parts > 1:
            outputs, inputs = weight.shape
            self._cut = weight.detach().view(self._parts, outputs // self._parts, inputs).transpose(1, 2)

    def __call__(self, rows: Tensor) -> Tensor:
        """[rows, outputs]."""
        if len(rows) > 1 or self._parts == 1:
            return F.linear(rows, self.weight, self.bias)
        out = torch.bmm(rows.expand(self._parts, 1, -1), self._cut).view(1, -1)
        return out if self.bias is None else out + self.bias


def parts_for(weight: Tensor) -> int:
    """Parts to cut a weight into for one row; 1 is the plain product."""
    if weight.device.type != "cpu" or weight.numel() < SMALL or torch.get_num_threads() == 1:
        return 1
    return _timed(tuple(weight.shape), weight.dtype, torch.get_num_threads())


@cache
def _timed(shape: tuple[int, int], dtype: torch.dtype, threads: int) -> int:
    """The fastest for a shape, with a weight of zeros that nobody has in a cache yet."""
    weight, row = torch.zeros(shape, dtype=dtype), torch.zeros(1, shape[1], dtype=dtype)
    found = {1: _seconds(lambda: F.linear(row, weight))}
    for parts in PARTS:
        if shape[0] % parts == 0:
            cut = weight.view(parts, shape[0] // parts, shape[1]).transpose(1, 2)
            found[parts] = _seconds(lambda cut=cut, parts=parts: torch.bmm(row.expand(parts, 1, -1), cut))  # type: ignore[misc]
    return min(found, key=lambda parts: found[parts])


def _seconds(work: object) -> float:
    best = float("inf")
    for _ in range(TRIES):
        begin = time.perf_counter()
        work()  # type: ignore[operator]
        best = min(best, time.perf_counter() - begin)
    return best
