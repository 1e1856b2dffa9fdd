"""Steps with prompts in them, through Triton's kernels and the libraries' products, for as many rows as come.

Nine launches a layer, where transformers' modules make fifty, and a few for each sequence: on a GPU the host's part is
what such a step of some hundred rows takes. Not recorded, since no two steps are alike. Knows weights, kernels and
spans; refuses to know sequences and schedules.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ovis_app.engine.attention.torch_attention import AttentionBatch
from ovis_app.engine.decode_step import DecodeStep, Dense, Layer
from ovis_app.engine.fused.around_products import add_and_norm, gate
from ovis_app.engine.fused.attention import attend_chunks, place_heads
from ovis_app.engine.fused.chunk_places import ChunkPlaces
from ovis_app.engine.fused.routing import doubtful, heard, led
from ovis_app.engine.fused.trial import MadeUp, apart, made_up_chunks
from ovis_app.engine.kv_pool import KVPool

MOMENT = 0.02  # seconds of getting ready, after which whoever waits for a token has his turn

log = logging.getLogger(__name__)


class FusedPrefill:
    """Computes all rows of a step, whatever they are, once it is `ready`."""

    def __init__(self, step: DecodeStep, *, wide: bool = False) -> None:
        """Over the weights of `step`. `wide` makes attention's products in float32, whatever the weights' type is."""
        self.step, self.ready, self._wide = step, False, wide

    def prepare(self, block_size: int) -> Iterator[None]:
        """Compiles the kernels, a moment's work each time, and tries them against the step in torch. Leaves `ready`
        False where they don't compute the same, with a warning."""
        why = ""
        try:
            ours, theirs = (made_up_chunks(self.step, block_size) for _ in range(2))
            ends = torch.arange(len(ours.tokens), device=self.step.norm.device)
            step, routings = heard(self.step)
            launches = FusedPrefill(step, wide=self._wide)._of(self._embedded(ours), ours.positions, ours.batch, ends)
            found, begin = None, time.perf_counter()
            while found is None:
                with torch.inference_mode():
                    found = next(launches)
                if time.perf_counter() - begin > MOMENT:
                    yield
                    begin = time.perf_counter()
            with torch.inference_mode():
                same, doubts = led(self.step, routings)
                expected = same(theirs.tokens, theirs.positions, theirs.batch)
                why = doubtful(doubts, "prompts") or apart(found, expected, "prompts")
        except torch.OutOfMemoryError:
            why = "there is no memory to try them"
        except Exception as error:  # what compilers and drivers raise is of many kinds
            why = f"{type(error).__name__}: {error}".partition("\n")[0]
        self.ready = not why
        if why:
            log.warning("prompts go through the model's modules, not through kernels: %s", why)

    @torch.inference_mode()
    def _embedded(self, made: MadeUp) -> Tensor:
        return F.embedding(made.tokens.to(self.step.norm.device), self.step.embedding.weight)

    @torch.inference_mode()
    def __call__(self, rows: Tensor, positions: Tensor, batch: AttentionBatch, ends: Tensor) -> Tensor:
        """Logits [ends, vocabulary] behind the rows `ends` of `rows` [rows, hidden], which are embeddings, at
        `positions` [rows]. All keys and values are in the pool afterwards."""
        *_, logits = self._of(rows, positions, batch, ends)
        assert logits is not None
        return logits

    def _of(self, rows: Tensor, positions: Tensor, batch: AttentionBatch, ends: Tensor) -> Iterator[Tensor | None]:
        """Launches a few kernels each time, and gives the logits with the last."""
        step, pool = self.step, batch.pool
        places = ChunkPlaces.of(positions, batch, step.norm.device)
        residual, normed = rows.float(), torch.empty_like(rows)
        addend: Tensor | None = None
        for number, layer in enumerate(step.layers):
            self._add_and_norm(residual, addend, layer.input_norm, normed)
            yield None
            attended = self._attention(number, layer, F.linear(normed, layer.qkv.weight), places, pool)
            yield None
            self._add_and_norm(residual, F.linear(attended, layer.out.weight), layer.post_norm, normed)
            addend = self._fed(layer, normed)
            yield None
        self._add_and_norm(residual, addend, step.norm, normed)
        yield F.linear(normed[ends], step.head.weight)

    def _add_and_norm(self, residual: Tensor, addend: Tensor | None, norm: Tensor, out: Tensor) -> None:
        add_and_norm(residual, addend, norm, out, rows=len(residual), eps=self.step.eps)

    def _attention(self, number: int, layer: Layer, qkv: Tensor, places: ChunkPlaces, pool: KVPool) -> Tensor:
        """[rows, heads times size], with keys and values put into the pool."""
        step, keys, values = self.step, pool.keys[number], pool.values[number]
        query = qkv.new_empty(len(qkv), step.heads * step.size)
        place_heads(step, layer, qkv, None, query, keys, values, positions=places.positions, slots=places.slots)
        out = torch.empty_like(query)
        attend_chunks(step, query, keys, values, places, out, block_size=pool.block_size, wide=self._wide)
        return out

    def _fed(self, layer: Layer, normed: Tensor) -> Tensor:
        """A layer's second half [rows, hidden], not yet added. Experts' own module groups what each of them gets."""
        if not isinstance(layer.feed, Dense):
            return layer.feed.of(normed)
        both = F.linear(normed, layer.feed.gate_up.weight)
        acts = both.new_empty(len(both), both.shape[1] // 2)
        gate(both, acts)
        return F.linear(acts, layer.feed.down.weight)
