"""Launches of what stands around a layer's products, for any number of rows: norms, heads at their places, gates.

Knows layers and kernels; refuses to know whose rows they are.
"""

from __future__ import annotations

from torch import Tensor

from ovis_app.engine.decode_step import DecodeStep, Layer
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


def place_heads(
    step: DecodeStep, layer: Layer, qkv: Tensor, squares: Tensor | None, query: Tensor, keys: Tensor, values: Tensor,
    *, positions: Tensor, slots: Tensor, parts: int = 1,
) -> None:  # fmt: skip
    """Queries of the joined product `qkv` [parts, rows, (heads + 2 groups) size] into `query`, its keys and values into
    the pool. Several parts are still to be multiplied by the norm's factor, which follows from `squares`."""
    unused, bias, norm = layer.input_norm, layer.qkv.bias, layer.query_norm
    key_norm = unused if layer.key_norm is None else layer.key_norm
    rows = len(positions)
    kernels.place_heads[(rows, step.heads + 2 * step.groups)](
        qkv, unused if squares is None else squares, unused if bias is None else bias, unused if norm is None else norm,
        key_norm, step.cos, step.sin, positions, slots, query, keys, values, step.eps, rows, keys.shape[1],
        HEADS=step.heads, GROUPS=step.groups, SIZE=step.size, PADDED=power_of_two(step.size), K=len(step.norm),
        PARTS=parts, SCALED=parts > 1, BIAS=bias is not None, NORM=norm is not None, num_warps=1,
    )  # fmt: skip


def gate(both: Tensor, out: Tensor) -> None:
    """`out` [rows, inner] = silu(gate) * up of `both` [rows, 2 inner], gates first."""
    rows, inner = len(both), both.shape[1] // 2
    kernels.gate[(rows, -(-inner // ELEMENTWISE))](both, out, N=inner, TILE=ELEMENTWISE)
