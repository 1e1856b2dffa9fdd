"""The kernels of the fused decode step, in Triton. This file and that of the experts' kernels alone import it.

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


@triton.jit(do_not_specialize=["rows"])
def place_heads(
    qkv, squares, bias, query_norm, key_norm, cos, sin, positions, slots, query, keys, values, eps, rows, tokens,
    HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, PADDED: tl.constexpr, K: tl.constexpr,
    PARTS: tl.constexpr, SCALED: tl.constexpr, BIAS: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """Heads from the joined product, one a program: `query` [rows, HEADS, SIZE] gets the queries, the pool `keys` and
    `values` [GROUPS, tokens, SIZE] the rest at `slots` [rows], unless a slot is negative.

    `qkv` is [PARTS, rows, (HEADS + 2 GROUPS) SIZE]; with SCALED still to be multiplied by the norm's factor, which
    follows from `squares` [PARTS, rows] over K. BIAS adds `bias`, NORM norms queries and keys head by head. Rotary
    positions by the tables `cos` and `sin` [context, SIZE]. PADDED is a power of two, at least SIZE.
    """
    row = tl.program_id(0)
    head = tl.program_id(1)
    d = tl.arange(0, PADDED)
    other = tl.where(d < SIZE // 2, d + SIZE // 2, d - SIZE // 2)  # in the other half, what it is turned with
    inside = d < SIZE
    x = tl.full((PADDED,), 0.0, tl.float32)
    y = tl.full((PADDED,), 0.0, tl.float32)
    total = 0.0
    for part in tl.static_range(PARTS):
        source = qkv + ((part * rows + row) * (HEADS + 2 * GROUPS) + head) * SIZE
        x += tl.load(source + d, mask=inside, other=0.0).to(tl.float32)
        y += tl.load(source + other, mask=inside, other=0.0).to(tl.float32)
        if SCALED:
            total += tl.load(squares + part * rows + row)
    if SCALED:
        factor = 1.0 / tl.sqrt(total / K + eps)
        x *= factor
        y *= factor
    if BIAS:
        x += tl.load(bias + head * SIZE + d, mask=inside, other=0.0).to(tl.float32)
        y += tl.load(bias + head * SIZE + other, mask=inside, other=0.0).to(tl.float32)
    if head < HEADS + GROUPS:
        if NORM:
            if head < HEADS:
                scale_x = tl.load(query_norm + d, mask=inside, other=0.0).to(tl.float32)
                scale_y = tl.load(query_norm + other, mask=inside, other=0.0).to(tl.float32)
            else:
                scale_x = tl.load(key_norm + d, mask=inside, other=0.0).to(tl.float32)
                scale_y = tl.load(key_norm + other, mask=inside, other=0.0).to(tl.float32)
            factor = 1.0 / tl.sqrt(tl.sum(x * x, axis=0) / SIZE + eps)
            x *= factor * scale_x
            y *= factor * scale_y
        turn = tl.load(positions + row).to(tl.int64) * SIZE + d
        c = tl.load(cos + turn, mask=inside, other=0.0).to(tl.float32)
        s = tl.load(sin + turn, mask=inside, other=0.0).to(tl.float32)
        x = x * c + tl.where(d < SIZE // 2, -y, y) * s
    slot = tl.load(slots + row).to(tl.int64)
    if head < HEADS:
        tl.store(query + (row * HEADS + head) * SIZE + d, x.to(query.dtype.element_ty), mask=inside)
    elif slot >= 0:
        if head < HEADS + GROUPS:
            place = ((head - HEADS) * tokens.to(tl.int64) + slot) * SIZE + d
            tl.store(keys + place, x.to(keys.dtype.element_ty), mask=inside)
        else:
            place = ((head - HEADS - GROUPS) * tokens.to(tl.int64) + slot) * SIZE + d
            tl.store(values + place, x.to(values.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["stride"])
def attend(
    query, keys, values, tables, lengths, sums, tops, totals, scaling, stride, tokens,
    HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, PADDED: tl.constexpr, GROUP: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One row's queries of one group of heads over one split of its tokens: `query` [rows, HEADS, SIZE] over the pool
    `keys` and `values` [GROUPS, tokens, SIZE], up to `lengths` [rows], through `tables` [blocks, stride] of blocks, a
    column a row.

    `sums` [rows, HEADS, splits, SIZE] gets the weighted values, not yet divided; `tops` and `totals` [rows, HEADS,
    splits] the highest score and the sum of weights (-inf and 0 for no tokens). GROUP and PADDED are powers of two, at
    least 16, that hold the heads of a group and SIZE. WIDE makes products in float32 whatever the pool's type is.
    """
    row = tl.program_id(0)
    group = tl.program_id(1)
    split = tl.program_id(2)
    splits = tl.num_programs(2)
    DOT: tl.constexpr = tl.float32 if WIDE else keys.dtype.element_ty
    EACH: tl.constexpr = HEADS // GROUPS
    length = tl.load(lengths + row)
    share = (length + splits * TILE - 1) // (splits * TILE) * TILE  # whole tiles
    first = split * share
    end = tl.minimum(first + share, length)
    member = tl.arange(0, GROUP)
    d = tl.arange(0, PADDED)
    whose = (member < EACH)[:, None] & (d < SIZE)[None, :]
    head = row * HEADS + group * EACH + member
    q = tl.load(query + head[:, None] * SIZE + d[None, :], mask=whose, other=0.0).to(DOT)
    top = tl.full((GROUP,), float("-inf"), tl.float32)
    total = tl.full((GROUP,), 0.0, tl.float32)
    result = tl.full((GROUP, PADDED), 0.0, tl.float32)
    start = group * tokens.to(tl.int64)
    for begin in range(first, end, TILE):
        token = begin + tl.arange(0, TILE)
        seen = token < end
        block = tl.load(tables + (token // BLOCK) * stride + row, mask=seen, other=0).to(tl.int64)
        place = (start + block * BLOCK + token % BLOCK)[:, None] * SIZE + d[None, :]
        there = seen[:, None] & (d < SIZE)[None, :]
        k = tl.load(keys + place, mask=there, other=0.0).to(DOT)
        v = tl.load(values + place, mask=there, other=0.0).to(DOT)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scaling
        scores = tl.where(seen[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        shrink = tl.exp(top - higher)
        weights = tl.exp(scores - higher[:, None])
        result = result * shrink[:, None] + tl.dot(weights.to(DOT), v, input_precision="ieee")
        total = total * shrink + tl.sum(weights, axis=1)
        top = higher
    place = head * splits + split
    tl.store(sums + place[:, None] * SIZE + d[None, :], result, mask=whose)
    tl.store(tops + place, top, mask=member < EACH)
    tl.store(totals + place, total, mask=member < EACH)


@triton.jit(do_not_specialize=["stride", "count"])
def attend_chunk(
    query, keys, values, tables, spans, tiles, out, scaling, stride, count, tokens,
    HEADS: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One head's queries of a tile of one span's rows over all tokens that they see: `out` [rows, HEADS, SIZE] from
    `query`, over the pool `keys` and `values` [GROUPS, tokens, SIZE].

    `tiles` [2, count] names each tile's span and its first row of that span; `spans` [3, stride] each span's first row,
    rows and context; `tables` [blocks, stride] its blocks, a column a span. A span's last row sees its context. PADDED
    is a power of two, at least 16. WIDE makes products in float32 whatever the pool's type is.
    """
    tile = tl.program_id(0)
    head = tl.program_id(1)
    DOT: tl.constexpr = tl.float32 if WIDE else keys.dtype.element_ty
    span = tl.load(tiles + tile)
    first = tl.load(tiles + count + tile)
    start = tl.load(spans + span)
    rows = tl.load(spans + stride + span)
    context = tl.load(spans + 2 * stride + span)
    member = first + tl.arange(0, ROWS)
    d = tl.arange(0, PADDED)
    whose = (member < rows)[:, None] & (d < SIZE)[None, :]
    place = ((start + member).to(tl.int64) * HEADS + head)[:, None] * SIZE + d[None, :]
    q = tl.load(query + place, mask=whose, other=0.0).to(DOT)
    last = context - rows + member  # the last token that each row sees
    end = tl.minimum(context - rows + first + ROWS, context)
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.full((ROWS,), 0.0, tl.float32)
    result = tl.full((ROWS, PADDED), 0.0, tl.float32)
    begin_of_group = (head // (HEADS // GROUPS)) * tokens.to(tl.int64)
    for begin in range(0, end, TILE):
        token = begin + tl.arange(0, TILE)
        there = token < end
        block = tl.load(tables + (token // BLOCK) * stride + span, mask=there, other=0).to(tl.int64)
        source = (begin_of_group + block * BLOCK + token % BLOCK)[:, None] * SIZE + d[None, :]
        inside = there[:, None] & (d < SIZE)[None, :]
        k = tl.load(keys + source, mask=inside, other=0.0).to(DOT)
        v = tl.load(values + source, mask=inside, other=0.0).to(DOT)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scaling
        scores = tl.where(token[None, :] <= last[:, None], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        shrink = tl.exp(top - higher)
        weights = tl.exp(scores - higher[:, None])
        result = result * shrink[:, None] + tl.dot(weights.to(DOT), v, input_precision="ieee")
        total = total * shrink + tl.sum(weights, axis=1)
        top = higher
    tl.store(out + place, (result / total[:, None]).to(out.dtype.element_ty), mask=whose)


@triton.jit(do_not_specialize=["splits"])
def combine(
    sums, tops, totals, out, splits,
    SIZE: tl.constexpr, PADDED: tl.constexpr, MOST: tl.constexpr,
):  # fmt: skip
    """`out` [heads, SIZE] from all splits of each head, at most MOST, a head a program; 0 where it has seen nothing."""
    head = tl.program_id(0)
    s = tl.arange(0, MOST)
    d = tl.arange(0, PADDED)
    top = tl.load(tops + head * splits + s, mask=s < splits, other=float("-inf"))
    weight = tl.exp(top - tl.maximum(tl.max(top, axis=0), -1e38))  # -inf less -inf would be none
    total = tl.sum(weight * tl.load(totals + head * splits + s, mask=s < splits, other=0.0), axis=0)
    place = (head * splits + s)[:, None] * SIZE + d[None, :]
    values = tl.load(sums + place, mask=(s < splits)[:, None] & (d < SIZE)[None, :], other=0.0)
    result = tl.sum(values * weight[:, None], axis=0) / tl.where(total == 0.0, 1.0, total)
    tl.store(out + head * SIZE + d, result.to(out.dtype.element_ty), mask=d < SIZE)


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
