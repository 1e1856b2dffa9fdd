"""Which kernels a fused step launches, in which order, over which buffers. Knows weights and kernels; refuses to know
when a step is made.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ovis_app.engine.decode_step import DecodeStep, Dense, Layer, Mixture
from ovis_app.engine.fused import triton_kernels as kernels
from ovis_app.engine.fused.around_products import ELEMENTWISE, add_and_norm, gate
from ovis_app.engine.fused.attention import MOST_SPLITS as MOST_SHARES
from ovis_app.engine.fused.attention import Shares, attend, combine, place_heads
from ovis_app.engine.fused.experts import Experts
from ovis_app.engine.fused.inputs import Inputs
from ovis_app.engine.fused.routing import Routing
from ovis_app.engine.fused.tiles import MOST_SPLITS, WARPS, Tile, attention_splits
from ovis_app.engine.kv_pool import KVPool

OWN_PRODUCTS = 2  # rows, up to which our own products are faster than the libraries'


class Launches:
    """The kernels of one step over a model's weights, with buffers for `most_rows` rows."""

    def __init__(self, step: DecodeStep, *, most_rows: int, processors: int, wide: bool = False) -> None:
        """`wide` makes attention's products in float32, whatever the weights' type is."""
        self.step, self.wide, self._processors = step, wide, processors
        self._dtype = step.norm.dtype
        self.hidden, feeds = len(step.norm), [layer.feed for layer in step.layers]
        self.inner = next((len(feed.gate_up.weight) // 2 for feed in feeds if isinstance(feed, Dense)), 1)
        self.joined, self.width = (step.heads + 2 * step.groups) * step.size, step.heads * step.size
        self.vocabulary = len(step.head.weight)
        self.qkv = self._tile(self.joined, self.hidden)
        self.out, self.down = (self._tile(self.hidden, size, plain=True) for size in (self.width, self.inner))
        self.gate_up = self._tile(self.inner, self.hidden, most_splits=1)
        self.head = self._tile(self.vocabulary, self.hidden, most_splits=1)
        own = min(most_rows, OWN_PRODUCTS)
        mixed = next((feed for feed in feeds if isinstance(feed, Mixture)), None)
        self.experts = None if mixed is None else Experts(step, mixed, rows=most_rows, own=own, processors=processors)
        self._buffers(most_rows, own)

    def _tile(self, outputs: int, inputs: int, *, plain: bool = False, most_splits: int = MOST_SPLITS) -> Tile:
        return Tile.of(
            outputs, inputs, itemsize=self._dtype.itemsize, plain=plain, most_splits=most_splits,
            processors=self._processors,
        )  # fmt: skip

    def _buffers(self, rows: int, own: int) -> None:
        """For `rows` rows, or `own` where our own products are. A step's rows are always the first ones."""
        parts = max(few * self._splits(few) for few in range(1, rows + 1)) * self.step.heads
        floats = self.step.norm.new_empty(0, dtype=torch.float32).new_zeros
        half = self.step.norm.new_zeros
        self.residual = [floats(rows * self.hidden) for _ in range(2)]
        self.qkv_parts = floats(self.qkv.splits * own * self.joined)
        self.squares = floats(max(self.qkv.splits, self.experts.router.splits if self.experts else 0) * own)
        self.out_parts = floats(self.out.splits * own * self.hidden)
        summed = max(self.down.splits * own, max(self.experts.down.splits * own, rows) if self.experts else 0)
        self.down_parts = floats(summed * self.hidden)
        self.logits = floats(own * self.vocabulary)
        self.query, self.attended = half(2, rows, self.width)
        self.normed = half(rows, self.hidden)
        self.acts = half(rows * max(self.inner, self.experts.width if self.experts else 0))
        self.shares = Shares(floats(parts * self.step.size), *floats(2, parts))

    def of(self, at: Inputs, pool: KVPool) -> Iterator[Tensor | None]:
        """Launches one kernel or product each time, and gives the logits [rows, vocabulary] with the last."""
        return self._own(at, pool) if at.rows <= OWN_PRODUCTS else self._with_libraries(at, pool)

    # --- few rows ----------------------------------------------------------------------------------------------------

    def _own(self, at: Inputs, pool: KVPool) -> Iterator[Tensor | None]:
        step, rows, (now, then) = self.step, at.rows, self.residual
        before = (self.down_parts, self._down_splits(step.layers[0]))
        self._embed(at, now, before[1])
        yield None
        for number, layer in enumerate(step.layers):
            self._product(self.qkv, layer.qkv.weight, self.qkv_parts, rows, now, before, then, layer.input_norm)
            yield None
            yield from self._attention(at, pool, number, self.qkv_parts, self.qkv.splits)
            self._product(self.out, layer.out.weight, self.out_parts, rows, self.attended)
            yield None
            yield from self._feed(number, layer, rows)
            before = (self.down_parts, self._down_splits(layer))
        self._product(self.head, step.head.weight, self.logits, rows, now, before, None, step.norm)
        yield self.logits[: rows * self.vocabulary].view(rows, -1)

    def _feed(self, number: int, layer: Layer, rows: int) -> Iterator[None]:
        """A layer's second half, into `down_parts`."""
        (now, then), before, feed = self.residual, (self.out_parts, self.out.splits), layer.feed
        if isinstance(feed, Dense):
            self._product(
                self.gate_up, feed.gate_up.weight, self.acts, rows, then, before, now, layer.post_norm, gated=True
            )
            yield
            self._product(self.down, feed.down.weight, self.down_parts, rows, self.acts)
            yield
            return
        assert self.experts is not None
        self._product(self.experts.router, feed.router, self.experts.scores, rows, then, before, now, layer.post_norm)
        yield
        self.experts.route_and_norm(number, feed, rows, now, layer.post_norm, self.normed)
        yield
        yield from self._experts(number, feed, rows, self.experts.down.splits)

    def _down_splits(self, layer: Layer) -> int:
        return self.experts.down.splits if self.experts and isinstance(layer.feed, Mixture) else self.down.splits

    def _product(
        self, tile: Tile, weight: Tensor, out: Tensor, rows: int, inputs: Tensor,
        before: tuple[Tensor, int] | None = None, kept: Tensor | None = None, norm: Tensor | None = None,
        *, gated: bool = False,
    ) -> None:  # fmt: skip
        """`inputs`, and the splits `before`, times a weight. What isn't there is named by another, and never read."""
        outputs = len(weight) // 2 if gated else len(weight)
        parts, count = (inputs, 0) if before is None else before
        kernels.product[(-(-outputs // tile.n), tile.splits)](
            inputs, parts, inputs if kept is None else kept, weight if norm is None else norm, weight, out,
            self.squares, self.step.eps, N=outputs, K=weight.shape[1], ROWS=rows, PARTS=count, KEEP=kept is not None,
            NORM=norm is not None, GATED=gated, SPLITS=tile.splits, TILE_N=tile.n, TILE_K=tile.k, LANE=tile.lane,
            num_warps=WARPS,
        )  # fmt: skip

    # --- many rows ---------------------------------------------------------------------------------------------------

    def _with_libraries(self, at: Inputs, pool: KVPool) -> Iterator[Tensor | None]:
        step, rows = self.step, at.rows
        normed, attended = self.normed[:rows], self.attended[:rows]
        addend: Tensor | None = None
        self._embed(at, self.residual[0], 0)
        yield None
        for number, layer in enumerate(step.layers):
            self._add_and_norm(rows, addend, layer.input_norm)
            yield None
            qkv = F.linear(normed, layer.qkv.weight)
            yield None
            yield from self._attention(at, pool, number, qkv, 1)
            self._add_and_norm(rows, F.linear(attended, layer.out.weight), layer.post_norm)
            yield None
            if isinstance(layer.feed, Dense):
                acts = self.acts[: rows * self.inner].view(rows, -1)
                gate(F.linear(normed, layer.feed.gate_up.weight), acts)
                yield None
                addend = F.linear(acts, layer.feed.down.weight)
                yield None
            else:
                assert self.experts is not None
                self.experts.route(number, layer.feed, F.linear(normed, layer.feed.router), rows, normed)
                yield None
                yield from self._experts(number, layer.feed, rows, 1)
                addend = self.down_parts
        self._add_and_norm(rows, addend, step.norm)
        yield F.linear(normed, step.head.weight)

    def _add_and_norm(self, rows: int, addend: Tensor | None, norm: Tensor) -> None:
        add_and_norm(self.residual[0], addend, norm, self.normed, rows=rows, eps=self.step.eps)

    # --- both --------------------------------------------------------------------------------------------------------

    def _embed(self, at: Inputs, residual: Tensor, parts: int) -> None:
        kernels.embed[(at.rows, -(-self.hidden // ELEMENTWISE))](
            self.step.embedding.weight, at.tokens, residual, self.down_parts, at.rows,
            K=self.hidden, PARTS=parts, TILE=ELEMENTWISE,
        )  # fmt: skip

    def _experts(self, number: int, feed: Mixture, rows: int, splits: int) -> Iterator[None]:
        assert self.experts is not None
        self.experts.activate(number, feed, rows, self.normed, self.acts)
        yield
        self.experts.add_up(number, feed, rows, self.acts, self.down_parts, splits=splits)
        yield

    def routings(self, rows: int) -> list[Routing]:
        """Which experts each row of the last step got, and their shares, for each mixture."""
        if self.experts is None:
            return []
        both = zip(self.step.layers, self.experts.experts, self.experts.shares, strict=True)
        return [
            Routing(names[:rows], shares[:rows]) for layer, names, shares in both if isinstance(layer.feed, Mixture)
        ]

    def _attention(self, at: Inputs, pool: KVPool, number: int, qkv: Tensor, parts: int) -> Iterator[None]:
        """`attended` from the joined product, whose keys and values go into the pool."""
        step, layer, rows, splits = self.step, self.step.layers[number], at.rows, self._splits(at.rows)
        keys, values = pool.keys[number], pool.values[number]
        place_heads(
            step, layer, qkv, self.squares, self.query, keys, values, positions=at.positions, slots=at.slots,
            parts=parts,
        )  # fmt: skip
        yield
        attend(
            step, self.query, keys, values, at, self.shares, splits=splits, block_size=pool.block_size, wide=self.wide
        )  # fmt: skip
        yield
        combine(step, self.shares, self.attended, rows=rows, splits=splits)
        yield

    def _splits(self, rows: int) -> int:
        return attention_splits(rows, self.step.groups, processors=self._processors, most=MOST_SHARES)
