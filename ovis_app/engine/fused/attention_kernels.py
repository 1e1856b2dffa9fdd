"""The kernels of attention, in Triton: heads at their places, one row's tokens in splits, and tiles of a chunk's rows.

Keys and values are read through tables of blocks. Products are the tensor cores' (`tl.dot`), so that the next tile
comes while one is looked at. The rules of all other kernels hold (`triton_kernels.py`). Knows pointers and shapes;
refuses to know models.
"""

from __future__ import annotations

import triton
import triton.language as tl


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
