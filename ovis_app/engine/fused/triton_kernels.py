"""The kernels of products, and of what stands around them, in Triton. Only the files of kernels import it.

A product of a few rows reads each weight once, and everything else hides behind that: what comes before a product (the
sum of the former product's splits, the residual, the norm's weight) is done where its rows are read. A norm's factor is
one number a row, so it is taken out of the product and applied behind it. All sums are in float32, and each value is
cast right after its load. Sizes of a model are constexpr: only then are loads 16 bytes wide. Without `tl.dot` nothing
is loaded ahead, so the bytes in flight are those of the tiles. Knows pointers and shapes; refuses to know models.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["rows"])
def embed(
    table, tokens, residual, parts, rows,
    K: tl.constexpr, PARTS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """`residual` [rows, K] in float32 = the rows of `table` [vocabulary, K] that `tokens` [rows] name, and `parts`
    [PARTS, rows, K] = 0: so the first layer has a product before it as every other has."""
    row = tl.program_id(0)
    k = tl.program_id(1) * TILE + tl.arange(0, TILE)
    token = tl.load(tokens + row).to(tl.int64)
    values = tl.load(table + token * K + k, mask=k < K, other=0.0).to(tl.float32)
    tl.store(residual + row * K + k, values, mask=k < K)
    for part in tl.static_range(PARTS):
        tl.store(parts + (part * rows + row) * K + k, tl.full((TILE,), 0.0, tl.float32), mask=k < K)


@triton.jit
def _row(
    row: tl.constexpr, k, inside, inputs, parts, kept,
    K: tl.constexpr, ROWS: tl.constexpr, PARTS: tl.constexpr, KEEP: tl.constexpr, ZERO: tl.constexpr,
):  # fmt: skip
    """Places `k` of one input row in float32, with the splits of the product before; `kept` gets the sum."""
    values = tl.load(inputs + row * K + k, mask=inside, other=ZERO).to(tl.float32)
    for part in tl.static_range(PARTS):
        values += tl.load(parts + (part * ROWS + row) * K + k, mask=inside, other=ZERO)
    if KEEP:  # by one of all programs that have it; a branch would hold back the loads that follow
        tl.store(kept + row * K + k, values, mask=k < tl.where(tl.program_id(0) == 0, K, 0))
    return values


@triton.jit
def times(tile, values, LANE: tl.constexpr):
    """Weights [n, k] times a row [k], summed over what one thread holds: [n, k / LANE]. Fewer sums in registers leave
    room for more weights under way."""
    both = tile.to(tl.float32) * values[None, :]
    return tl.sum(tl.reshape(both, (tile.shape[0], tile.shape[1] // LANE, LANE)), axis=2)


@triton.jit
def product(
    inputs, parts, kept, norm, weight, out, squares, eps,
    N: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr,
    PARTS: tl.constexpr, KEEP: tl.constexpr, NORM: tl.constexpr, GATED: tl.constexpr, SPLITS: tl.constexpr,
    TILE_N: tl.constexpr, TILE_K: tl.constexpr, LANE: tl.constexpr,
):  # fmt: skip
    """out [SPLITS, ROWS, N] = a row x [K] times `weight` [N, K], for 1 or 2 rows; each split has its part of K.

    x is `inputs` [ROWS, K] and the sum of `parts` [PARTS, ROWS, K], which goes to `kept` [ROWS, K] with KEEP; with NORM
    it is normed by its root mean square and times `norm` [K]. In one split the norm's factor is applied; in several
    `squares` [SPLITS, ROWS] gets their sums of squares, and whoever sums the splits applies it. With GATED `weight` is
    [2 N, K], gates first, and out is silu(gate) * up, in one split. LANE weights are 16 bytes.
    """
    tl.static_assert(ROWS == 1 or ROWS == 2)
    tl.static_assert(not GATED or SPLITS == 1)
    STEPS: tl.constexpr = (K + TILE_K * SPLITS - 1) // (TILE_K * SPLITS)
    WHOLE: tl.constexpr = K % (TILE_K * SPLITS) == 0 and N % TILE_N == 0
    ZERO: tl.constexpr = None if WHOLE else 0.0
    split = tl.program_id(1)
    n = tl.program_id(0) * TILE_N + tl.arange(0, TILE_N)
    tile = weight + n[:, None].to(tl.int64) * K
    nothing = tl.full((TILE_N, TILE_K // LANE), 0.0, tl.float32)
    sum0, sum1, up0, up1 = nothing, nothing, nothing, nothing
    none = tl.full((TILE_K,), 0.0, tl.float32)
    square0, square1 = none, none
    for step in range(STEPS):
        k = (split * STEPS + step) * TILE_K + tl.arange(0, TILE_K)
        if WHOLE:  # without masks
            inside, within = None, None
        else:
            inside = k < K
            within = (n < N)[:, None] & inside[None, :]
        # Weights first of all: their way is the longest. They come once, so they leave the caches to the rows.
        gates = tl.load(tile + k[None, :], mask=within, other=ZERO, eviction_policy="evict_first")
        if GATED:
            ups = tl.load(tile + N * K + k[None, :], mask=within, other=ZERO, eviction_policy="evict_first")
        if NORM:
            scale = tl.load(norm + k, mask=inside, other=ZERO).to(tl.float32)
        for row in tl.static_range(ROWS):
            x = _row(row, k, inside, inputs, parts, kept, K, ROWS, PARTS, KEEP, ZERO)
            square = x * x
            if NORM:
                x *= scale
            more = times(gates, x, LANE)
            more_up = times(ups, x, LANE) if GATED else nothing
            # A row's sums are variables of their own: kernels have no lists.
            if row == 0:
                sum0, up0, square0 = sum0 + more, up0 + more_up, square0 + square
            else:
                sum1, up1, square1 = sum1 + more, up1 + more_up, square1 + square
    _finish(0, sum0, up0, square0, n, split, out, squares, eps, N, K, ROWS, NORM, GATED, SPLITS)
    if ROWS > 1:
        _finish(1, sum1, up1, square1, n, split, out, squares, eps, N, K, ROWS, NORM, GATED, SPLITS)


@triton.jit
def _finish(
    row: tl.constexpr, sums, ups, square, n, split, out, squares, eps,
    N: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr, NORM: tl.constexpr, GATED: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """One row's tile of a product, summed and stored."""
    result = tl.sum(sums, axis=1)
    if NORM:
        total = tl.sum(square, axis=0)
        if SPLITS == 1:
            factor = 1.0 / tl.sqrt(total / K + eps)
            result *= factor
        else:
            if tl.program_id(0) == 0:
                tl.store(squares + split * ROWS + row, total)
    if GATED:
        up = tl.sum(ups, axis=1)
        if NORM:
            up *= factor
        result = result / (1.0 + tl.exp(-result)) * up
    tl.store(out + (split * ROWS + row) * N + n, result.to(out.dtype.element_ty), mask=n < N)


@triton.jit
def add_and_norm(
    residual,
    addend,
    norm,
    out,
    eps,
    K: tl.constexpr,
    TILE: tl.constexpr,
    ADD: tl.constexpr,
):
    """For many rows: `residual` [rows, K] in float32, with ADD plus `addend` [rows, K] in place, is normed into `out`.
    TILE is a power of two, at least K."""
    row = tl.program_id(0)
    k = tl.arange(0, TILE)
    inside = k < K
    values = tl.load(residual + row * K + k, mask=inside, other=0.0)
    if ADD:
        values += tl.load(addend + row * K + k, mask=inside, other=0.0).to(tl.float32)
        tl.store(residual + row * K + k, values, mask=inside)
    factor = 1.0 / tl.sqrt(tl.sum(values * values, axis=0) / K + eps)
    values *= factor * tl.load(norm + k, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * K + k, values.to(out.dtype.element_ty), mask=inside)


@triton.jit
def gate(both, out, N: tl.constexpr, TILE: tl.constexpr):
    """For many rows: `out` [rows, N] = silu(gate) * up of `both` [rows, 2 N], gates first."""
    row = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = n < N
    gates = tl.load(both + row * 2 * N + n, mask=inside, other=0.0).to(tl.float32)
    ups = tl.load(both + row * 2 * N + N + n, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * N + n, (gates / (1.0 + tl.exp(-gates)) * ups).to(out.dtype.element_ty), mask=inside)
