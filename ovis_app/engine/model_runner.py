"""One step of the language model: a scheduled batch in, logits of the rows that choose a token out.

All chunks stand in one flattened row, without padding. A step in which everybody decodes goes by the decode step where
the model has one; all else through the kernels that come with it on a GPU, or through transformers' modules, which know
of the pool by their attention alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from ovis_app.engine.attention.torch_attention import NAME, AttentionBatch, Span
from ovis_app.engine.kv_pool import KVPool
from ovis_app.engine.scheduler import Chunk
from ovis_app.models.devices import few_threads
from ovis_app.models.ovis import Ovis
from ovis_app.models.prompt import VISUAL_ATOM

log = logging.getLogger(__name__)


class Prefill(Protocol):
    """Computes a step with prompts: logits [ends, vocabulary] behind some of its `rows` [rows, hidden]."""

    def __call__(self, rows: Tensor, positions: Tensor, batch: AttentionBatch, ends: Tensor) -> Tensor: ...


class Step(Protocol):
    """Makes one token for each of several sequences; a `DecodeStep` is one. `why` says what came to keep it from being
    used, and a slower one in its place, since the model was loaded. `prefill` is what computes steps with prompts in
    the modules' place, if there is something."""

    why: str

    @property
    def prefill(self) -> Prefill | None: ...
    @property
    def together(self) -> bool: ...
    def __call__(self, tokens: Tensor, positions: Tensor, batch: AttentionBatch) -> Tensor: ...
    def prepare(self) -> Iterator[None]: ...


class ModelRunner:
    """Runs steps of one model over one pool. One thread at a time."""

    def __init__(self, model: Ovis, pool: KVPool, decode_step: Step | None = None) -> None:
        self.model, self.pool, self.decode_step = model, pool, decode_step
        self._preparing = iter(()) if decode_step is None else decode_step.prepare()

    def prepare(self) -> bool:
        """A moment's work, which makes later steps faster; whether there was any left."""
        return any(True for _ in self._preparing)

    def threads(self) -> AbstractContextManager[None]:
        """As many threads as this model is worth, for whoever runs its steps."""
        return few_threads(self.model.llm)

    @torch.inference_mode()
    def run(self, chunks: Sequence[Chunk]) -> Tensor | None:
        """Logits [rows, vocabulary] in float32, of the last token and the drafts of each chunk that ends its sequence's
        tokens, in order; None where none does. All chunks' keys and values are in the pool afterwards."""
        if self.decode_step is not None and all(chunk.tokens == 1 and chunk.last for chunk in chunks):
            tokens = [token for chunk in chunks for token in (chunk.sequence.ids[-1], *chunk.drafts)]
            if min(tokens) >= 0:  # a prompt may end with a visual token
                places = _positions(chunks)
                return self.decode_step(torch.tensor(tokens), places, self.attention_batch(chunks)).float()
        return self._with_prompts(chunks)

    def _with_prompts(self, chunks: Sequence[Chunk]) -> Tensor | None:
        """Through kernels where there are some, else through the modules."""
        if self.decode_step is not None and not self.decode_step.together:
            log.warning("the model's weights were exchanged: new tokens go through its modules from now on")
            self.decode_step = None
        device = self.model.device
        ends: list[int] = []
        row = 0
        for chunk in chunks:
            if chunk.last:
                ends += range(row + chunk.tokens - 1, row + chunk.rows)
            row += chunk.rows
        prefill = self._through_modules if self.decode_step is None else self.decode_step.prefill
        logits = (prefill or self._through_modules)(
            self.embed(chunks)[0], _positions(chunks), self.attention_batch(chunks),
            torch.tensor(ends or [row - 1], device=device),
        )  # fmt: skip
        if ends:
            return logits.float()
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # nobody waits for a token; the next chunk's size depends on the time taken
        elif device.type == "mps":
            torch.mps.synchronize()
        return None

    def _through_modules(self, rows: Tensor, positions: Tensor, batch: AttentionBatch, ends: Tensor) -> Tensor:
        self.model.set_attention(NAME)
        places = positions[None].to(self.model.device)
        out = self.model.llm(
            inputs_embeds=rows[None], position_ids=places, use_cache=False, logits_to_keep=ends, blocks=batch
        )
        logits: Tensor = out.logits[0]
        return logits

    def embed(self, chunks: Sequence[Chunk]) -> Tensor:
        """[1, rows, hidden]."""
        ids: list[int] = []
        visual: list[Tensor] = []
        for chunk in chunks:
            sequence, begin = chunk.sequence, chunk.sequence.computed
            part = sequence.ids[begin : begin + chunk.tokens]
            rows = part.count(VISUAL_ATOM)
            if rows:
                assert sequence.visual is not None
                before = sequence.ids[:begin].count(VISUAL_ATOM)
                visual.append(sequence.visual[before : before + rows])
            ids += [*part, *chunk.drafts]
        return self.model.embed(torch.tensor(ids), torch.cat(visual) if visual else None)

    def attention_batch(self, chunks: Sequence[Chunk]) -> AttentionBatch:
        size = self.pool.block_size
        spans: list[Span] = []
        slots: list[int] = []
        for chunk in chunks:
            table, begin = chunk.sequence.block_table, chunk.sequence.computed
            context = begin + chunk.rows
            used = table[: -(-context // size)]
            run = used == list(range(used[0], used[0] + len(used)))
            blocks = None if run else torch.tensor(used)
            spans.append(Span(len(slots), chunk.rows, context, used[0] * size, blocks))
            slots += [table[place // size] * size + place % size for place in range(begin, context)]
        return AttentionBatch(self.pool, torch.tensor(slots), spans)


def _positions(chunks: Sequence[Chunk]) -> Tensor:
    """[rows]: each row's place in its sequence."""
    begins = [(chunk.sequence.computed, chunk.rows) for chunk in chunks]
    return torch.tensor([place for begin, rows in begins for place in range(begin, begin + rows)])
