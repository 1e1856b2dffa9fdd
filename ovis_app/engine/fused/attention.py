"""Launches of attention: heads at their places, then every row over the tokens that it sees, whether everybody decodes
or there are prompts.

Knows layers, pools and kernels; refuses to know whose rows they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ovis_app.engine.decode_step import DecodeStep, Layer
from ovis_app.engine.fused import attention_kernels as kernels
from ovis_app.engine.fused.chunk_places import TILE_ROWS, ChunkPlaces
from ovis_app.engine.fused.inputs import Inputs
from ovis_app.engine.fused.tiles import WARPS, power_of_two

MOST_SPLITS = 32  # of a sequence's tokens
TILE = 32  # tokens that are looked at together
STAGES = 5  # with fewer nothing is under way while a tile is looked at: a block's number comes first
LEAST_DOT = 16  # rows and columns of a product on tensor cores


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


@dataclass(frozen=True)
class Shares:
    """What each split of a row's tokens comes to: buffers for [rows, heads, splits] of `sums` [.., size], `tops` and
    `totals`."""

    sums: Tensor
    tops: Tensor
    totals: Tensor


def attend(
    step: DecodeStep, query: Tensor, keys: Tensor, values: Tensor, at: Inputs, shares: Shares, *, splits: int,
    block_size: int, wide: bool,
) -> None:  # fmt: skip
    """Each row over its own tokens, in `splits` parts. `wide` makes products in float32, whatever the type is."""
    kernels.attend[(at.rows, step.groups, splits)](
        query, keys, values, at.tables, at.lengths, shares.sums, shares.tops, shares.totals, step.scaling, at.stride,
        keys.shape[1], HEADS=step.heads, GROUPS=step.groups, SIZE=step.size,
        PADDED=max(power_of_two(step.size), LEAST_DOT),
        GROUP=max(power_of_two(step.heads // step.groups), LEAST_DOT), BLOCK=block_size, TILE=TILE, WIDE=wide,
        num_warps=WARPS, num_stages=STAGES,
    )  # fmt: skip


def combine(step: DecodeStep, shares: Shares, out: Tensor, *, rows: int, splits: int) -> None:
    """`out` [rows, heads times size] of all splits."""
    kernels.combine[(rows * step.heads,)](
        shares.sums, shares.tops, shares.totals, out, splits, SIZE=step.size, PADDED=power_of_two(step.size),
        MOST=MOST_SPLITS,
    )  # fmt: skip


def attend_chunks(
    step: DecodeStep, query: Tensor, keys: Tensor, values: Tensor, places: ChunkPlaces, out: Tensor, *, block_size: int,
    wide: bool,
) -> None:  # fmt: skip
    """All rows of a step with prompts over the tokens that they see: `out` [rows, heads times size]."""
    count = places.tiles.shape[1]
    kernels.attend_chunk[(count, step.heads)](
        query, keys, values, places.tables, places.spans, places.tiles, out, step.scaling, places.spans.shape[1], count,
        keys.shape[1], HEADS=step.heads, GROUPS=step.groups, SIZE=step.size,
        PADDED=max(power_of_two(step.size), LEAST_DOT), ROWS=TILE_ROWS, BLOCK=block_size, TILE=TILE, WIDE=wide,
        num_warps=WARPS, num_stages=STAGES,
    )  # fmt: skip
