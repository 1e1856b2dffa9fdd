"""The kernels of a mixture of experts, in Triton: which experts a row gets, and their two products.

All experts of a row are one product whose weight is chosen as it is read: their outputs stand side by side, and their
shares are part of the second product's inputs, so it sums over all of them, cut like any other. Every row reads the
weights of its own experts by itself. Those of an expert that several rows have come from memory once, if they meet in
the card's cache, but go through it for each: with many rows that is what the time goes into. The rules of all other
kernels hold (`triton_kernels.py`). Knows pointers and shapes; refuses to know models.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ovis_app.engine.fused.triton_kernels import times


@triton.jit(do_not_specialize=["rows"])
def route(
    scores, residual, norm, normed, experts, shares, eps, rows,
    COUNT: tl.constexpr, PADDED: tl.constexpr, CHOSEN: tl.constexpr, PARTS: tl.constexpr, WHOLE: tl.constexpr,
    NORM: tl.constexpr, SCALED: tl.constexpr, K: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """`experts` [rows, CHOSEN] are those of the highest `scores`, the highest first and of equal ones the lower, and
    `shares` [rows, CHOSEN] their probabilities; with WHOLE these sum to 1.

    `scores` [PARTS, rows, COUNT] are summed; with SCALED still to be multiplied by the norm's factor. With NORM
    `residual` [rows, K] is normed into `normed` [rows, K], whose type scores and shares are rounded to, as models were
    taught. PADDED and TILE are powers of two that hold COUNT and K.
    """
    row = tl.program_id(0)
    expert = tl.arange(0, PADDED)
    there = expert < COUNT
    score = tl.full((PADDED,), 0.0, tl.float32)
    for part in tl.static_range(PARTS):
        score += tl.load(scores + (part * rows + row) * COUNT + expert, mask=there, other=0.0).to(tl.float32)
    if NORM:
        k = tl.arange(0, TILE)
        values = tl.load(residual + row * K + k, mask=k < K, other=0.0)
        scale = tl.load(norm + k, mask=k < K, other=0.0).to(tl.float32)
        factor = 1.0 / tl.sqrt(tl.sum(values * values, axis=0) / K + eps)
        tl.store(normed + row * K + k, (values * factor * scale).to(normed.dtype.element_ty), mask=k < K)
        if SCALED:
            score *= factor
    score = tl.where(there, score.to(normed.dtype.element_ty).to(tl.float32), float("-inf"))
    share = tl.exp(score - tl.max(score, axis=0))
    share = tl.where(there, share / tl.sum(share, axis=0), -1.0)
    # Its place among all is how many come before it: one sum for everybody, where a search would be one after another.
    before = (share[None, :] > share[:, None]) | (
        (share[None, :] == share[:, None]) & (expert[None, :] < expert[:, None])
    )
    place = tl.sum(before.to(tl.int32), axis=1)
    chosen = there & (place < CHOSEN)
    if WHOLE:
        share /= tl.sum(tl.where(chosen, share, 0.0), axis=0)
    tl.store(experts + row * CHOSEN + place, expert, mask=chosen)
    tl.store(shares + row * CHOSEN + place, share.to(normed.dtype.element_ty).to(tl.float32), mask=chosen)


@triton.jit
def experts_gate_up(
    inputs, experts, weight, out,
    N: tl.constexpr, K: tl.constexpr, CHOSEN: tl.constexpr,
    TILE_N: tl.constexpr, TILE_K: tl.constexpr, LANE: tl.constexpr,
):  # fmt: skip
    """out [rows, CHOSEN, N] = silu(gate) * up of `inputs` [rows, K] times `weight` [experts, 2 N, K], gates first, of
    the `experts` [rows, CHOSEN]. All that have the same tile of outputs come together, so rows with one expert meet."""
    pick = tl.program_id(0)
    n = tl.program_id(1) * TILE_N + tl.arange(0, TILE_N)
    STEPS: tl.constexpr = (K + TILE_K - 1) // TILE_K
    WHOLE: tl.constexpr = K % TILE_K == 0 and N % TILE_N == 0
    ZERO: tl.constexpr = None if WHOLE else 0.0
    tile = weight + tl.load(experts + pick).to(tl.int64) * (2 * N * K) + n[:, None].to(tl.int64) * K
    gate = tl.full((TILE_N, TILE_K // LANE), 0.0, tl.float32)
    up = tl.full((TILE_N, TILE_K // LANE), 0.0, tl.float32)
    for step in range(STEPS):
        k = step * TILE_K + tl.arange(0, TILE_K)
        if WHOLE:
            inside, within = None, None
        else:
            inside = k < K
            within = (n < N)[:, None] & inside[None, :]
        gates = tl.load(tile + k[None, :], mask=within, other=ZERO, eviction_policy="evict_first")
        ups = tl.load(tile + N * K + k[None, :], mask=within, other=ZERO, eviction_policy="evict_first")
        x = tl.load(inputs + pick // CHOSEN * K + k, mask=inside, other=ZERO).to(tl.float32)
        gate += times(gates, x, LANE)
        up += times(ups, x, LANE)
    result = tl.sum(gate, axis=1)
    result = result / (1.0 + tl.exp(-result)) * tl.sum(up, axis=1)
    tl.store(out + pick.to(tl.int64) * N + n, result.to(out.dtype.element_ty), mask=n < N)


@triton.jit(do_not_specialize=["rows"])
def experts_down(
    inputs, experts, shares, weight, out, rows,
    N: tl.constexpr, K: tl.constexpr, CHOSEN: tl.constexpr, SPLITS: tl.constexpr,
    TILE_N: tl.constexpr, TILE_K: tl.constexpr, LANE: tl.constexpr,
):  # fmt: skip
    """out [SPLITS, rows, N] = `inputs` [rows, CHOSEN, K] by `shares` [rows, CHOSEN] times `weight` [experts, N, K] of
    the `experts` [rows, CHOSEN], summed over each split's part of all their inputs. LANE inputs are of one expert."""
    tl.static_assert(K % LANE == 0)
    ALL: tl.constexpr = CHOSEN * K
    STEPS: tl.constexpr = (ALL + TILE_K * SPLITS - 1) // (TILE_K * SPLITS)
    WHOLE: tl.constexpr = ALL % (TILE_K * SPLITS) == 0 and N % TILE_N == 0
    ZERO: tl.constexpr = None if WHOLE else 0.0
    NONE: tl.constexpr = None if WHOLE else 0
    row = tl.program_id(0)
    split = tl.program_id(2)
    n = tl.program_id(1) * TILE_N + tl.arange(0, TILE_N)
    lane = tl.arange(0, LANE)
    sums = tl.full((TILE_N, TILE_K // LANE), 0.0, tl.float32)
    for step in range(STEPS):
        first = (split * STEPS + step) * TILE_K + tl.arange(0, TILE_K // LANE) * LANE  # of each lane
        if WHOLE:
            known, inside, within = None, None, None
        else:
            known = first < ALL
            inside = known[:, None] & (lane < LANE)[None, :]
            within = (n < N)[:, None, None] & inside[None, :, :]
        pick = row * CHOSEN + first // K
        expert = tl.load(experts + pick, mask=known, other=NONE).to(tl.int64)
        place = (
            (expert * (N * K) + first % K)[None, :, None] + (n.to(tl.int64) * K)[:, None, None] + lane[None, None, :]
        )
        tile = tl.load(weight + place, mask=within, other=ZERO, eviction_policy="evict_first")
        share = tl.load(shares + pick, mask=known, other=ZERO)
        source = inputs + row.to(tl.int64) * ALL + first[:, None] + lane[None, :]
        x = tl.load(source, mask=inside, other=ZERO).to(tl.float32) * share[:, None]
        sums += tl.sum(tile.to(tl.float32) * x[None, :, :], axis=2)
    result = tl.sum(sums, axis=1)
    tl.store(out + (split * rows + row) * N + n, result, mask=n < N)
