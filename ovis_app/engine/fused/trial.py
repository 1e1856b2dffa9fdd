"""Whether a step computes what the step in torch does, tried on made-up tokens over a small pool of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ovis_app.engine.attention.torch_attention import AttentionBatch, Span
from ovis_app.engine.decode_step import DecodeStep, Mixture
from ovis_app.engine.fused.inputs import Inputs
from ovis_app.engine.kv_pool import KVPool

SHARED = 8  # blocks that all rows look at, beside one of their own
LENGTHS = (40, 1, 17, 64, 16, 33, 100, 5)  # tokens, by turns
# The mean distance that is allowed, as a share of the whole; one row may be twice as far. With 36 layers of random
# weights rounding to bfloat16 takes a row 0.05 away, the worst of eight 0.10; a position that is off by one 0.3 to 0.9.
APART = {torch.float32: 1e-3}
APART_IN_HALF = 0.12
# What the experts of one row in one layer may lack of the probability of the best, and what they may in the mean.
LACKING, LACKING_MEAN = 0.3, 0.02

Run = Callable[[Inputs, KVPool], Tensor]


@dataclass(frozen=True)
class Led(Mixture):
    """A mixture whose rows get the experts that they are told; `lacking` hears how much less probable these are than
    those that they would have got, as a share [rows]."""

    experts: Tensor
    lacking: list[Tensor]

    def added(self, rows: Tensor, to: Tensor) -> Tensor:
        chances = F.linear(rows, self.router).softmax(-1, dtype=torch.float32)
        experts = self.experts[: len(rows)].long()
        best = chances.topk(self.chosen).values.sum(-1)
        once = torch.zeros_like(chances).scatter_(-1, experts, 1.0)  # an expert that is named twice is one
        self.lacking.append(1 - (chances * once).sum(-1) / best)
        shares = chances.gather(-1, experts)
        if self.renormed:
            shares = shares / shares.sum(-1, keepdim=True)
        return cast(Tensor, self.block.get_submodule("experts")(rows, experts, shares.to(rows.dtype)) + to)


def led(step: DecodeStep, choices: Sequence[Tensor]) -> tuple[DecodeStep, list[Tensor]]:
    """The same step by the experts that `choices` [rows, chosen] name for each layer, and what becomes of `lacking`."""
    lacking: list[Tensor] = []
    if not choices:
        return step, lacking
    other = copy.copy(step)
    other.layers = [
        replace(layer, feed=Led(layer.feed.block, experts, lacking)) if isinstance(layer.feed, Mixture) else layer
        for layer, experts in zip(step.layers, choices, strict=True)
    ]
    return other, lacking


@torch.inference_mode()
def trial(
    step: DecodeStep, run: Run, at: Inputs, *, block_size: int, context: int,
    choices: Callable[[int], Sequence[Tensor]] = lambda rows: (),
) -> str:  # fmt: skip
    """Why `run` isn't to be used for the rows of `at`, in a few words; empty where it computes what `step` does. All
    rows but the last are filled, if there are several. `at` is padding afterwards.

    `choices` says which experts the rows of `run` got. Near a tie the rounding alone decides on one or another, and with
    48 layers of random experts two steps that are both right end anywhere. So `step` computes with the experts that `run`
    chose, whose shares are its own, and they have to be about as probable, by its own scores, as the best.
    """
    pool = KVPool(step.llm, SHARED + at.rows, block_size)
    tokens, positions, batch = made_up(step, pool, max(at.rows - 1, 1), context)
    at.fill(tokens, positions, batch)
    try:
        ours = run(at, pool)[: len(tokens)].float().clone()  # before the other, whose keys it must not find
    finally:
        at.pad()
    same, lacking = led(step, choices(len(tokens)))
    theirs = same(tokens, positions, batch).float()
    if lacking:
        lost = torch.stack(lacking)
        if not (float(lost.max()) <= LACKING and float(lost.mean()) <= LACKING_MEAN):
            return f"its experts for {at.rows} rows are up to {float(lost.max()):.1%} less probable than those in torch"
    apart, allowed = (ours - theirs).norm(dim=-1) / theirs.norm(dim=-1), APART.get(step.norm.dtype, APART_IN_HALF)
    if float(apart.mean()) <= allowed and float(apart.max()) <= 2 * allowed:
        return ""
    return f"its scores for {at.rows} rows differ by up to {float(apart.max()):.1%} from those in torch"


def made_up(
    step: DecodeStep, pool: KVPool, rows: int, context: int, *, seed: int = 0
) -> tuple[Tensor, Tensor, AttentionBatch]:
    """Tokens and positions [rows], and what they see in a pool of `SHARED` + rows blocks, which aren't runs."""
    random = torch.Generator().manual_seed(seed)
    for tensor in (*pool.keys, *pool.values):
        few = torch.randn(pool.block_size, tensor.shape[-1], generator=random)
        tensor.view(len(tensor), -1, *few.shape).copy_(few)
        tensor.mul_(torch.randn(tensor.shape[1], 1, generator=random).to(tensor))
    size, slots, spans = pool.block_size, [], []
    lengths = [min(LENGTHS[(row + seed) % len(LENGTHS)], context, SHARED * size) for row in range(rows)]
    for row, length in enumerate(lengths):
        used, own = -(-length // size), SHARED + row
        blocks = torch.cat([torch.randperm(SHARED, generator=random)[: used - 1], torch.tensor([own])])
        slots.append(own * size + (length - 1) % size)
        spans.append(Span(row, 1, length, int(blocks[0]) * size, blocks))
    tokens = torch.randint(step.embedding.num_embeddings, (rows,), generator=random)
    return tokens, torch.tensor(lengths) - 1, AttentionBatch(pool, torch.tensor(slots), spans)
