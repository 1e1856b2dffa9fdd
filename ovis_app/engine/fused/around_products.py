"""Launches of what stands around a layer's products, for any number of rows: norms and gates.

Knows kernels; refuses to know whose rows they are.
"""

from __future__ import annotations

from torch import Tensor

from ovis_app.engine.fused import triton_kernels as kernels
from ovis_app.engine.fused.tiles import WARPS, power_of_two

ELEMENTWISE = 1024  # values that a program without sums takes


def add_and_norm(residual: Tensor, addend: Tensor | None, norm: Tensor, out: Tensor, *, rows: int, eps: float) -> None:
    """`residual` [rows, hidden] in float32, plus `addend` in place if there is one, is normed into `out`."""
    hidden = len(norm)
    tile = power_of_two(hidden)
    kernels.add_and_norm[(rows,)](
        residual, residual if addend is None else addend, norm, out, eps, K=hidden, TILE=tile, ADD=addend is not None,
        num_warps=8 if tile > ELEMENTWISE else WARPS,
    )  # fmt: skip


def gate(both: Tensor, out: Tensor) -> None:
    """`out` [rows, inner] = silu(gate) * up of `both` [rows, 2 inner], gates first."""
    rows, inner = len(both), both.shape[1] // 2
    kernels.gate[(rows, -(-inner // ELEMENTWISE))](both, out, N=inner, TILE=ELEMENTWISE)
