"""Whether a step computes what the step in torch does, tried on made-up tokens over a small pool of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ovis_app.engine.attention.torch_attention import AttentionBatch, Span
from ovis_app.engine.decode_step import DecodeStep
from ovis_app.engine.fused.inputs import Inputs
from ovis_app.engine.fused.routing import Routing, doubtful, led
from ovis_app.engine.kv_pool import KVPool

SHARED = 8  # blocks that all rows look at, beside one of their own
LENGTHS = (40, 1, 17, 64, 16, 33, 100, 5)  # tokens, by turns
# The mean distance that is allowed, as a share of the whole; one row may be twice as far. With 36 layers of random
# weights rounding to bfloat16 takes a row 0.05 away, the worst of eight 0.10; a position that is off by one 0.3 to 0.9.
APART = {torch.float32: 1e-3}
APART_IN_HALF = 0.12

Run = Callable[[Inputs, KVPool], Tensor]


@torch.inference_mode()
def trial(
    step: DecodeStep, run: Run, at: Inputs, *, block_size: int, context: int,
    routings: Callable[[int], Sequence[Routing]] = lambda rows: (),
) -> str:  # fmt: skip
    """Why `run` isn't to be used for the rows of `at`, in a few words; empty where it computes what `step` does. All
    rows but the last are filled, if there are several. `at` is padding afterwards. `routings` are those among
    experts of the rows of `run`."""
    pool = KVPool(step.llm, SHARED + at.rows, block_size)
    tokens, positions, batch = made_up(step, pool, max(at.rows - 1, 1), context)
    at.fill(tokens, positions, batch)
    try:
        ours = run(at, pool)[: len(tokens)].float().clone()  # before the other, whose keys it must not find
        if ours.is_cuda:
            torch.cuda.synchronize(ours.device)  # what it reads is overwritten now
    finally:
        at.pad()
    same, doubts = led(step, routings(len(tokens)))
    theirs, what = same(tokens, positions, batch), f"{at.rows} rows"
    return doubtful(doubts, what) or apart(ours, theirs, what)


def apart(ours: Tensor, theirs: Tensor, what: str) -> str:
    """Why logits [rows, vocabulary] aren't those that they should be, of the type of `theirs`; empty where they are."""
    allowed = APART.get(theirs.dtype, APART_IN_HALF)
    ours, theirs = ours.float(), theirs.float()
    far = (ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)
    if float(far.mean()) <= allowed and float(far.max()) <= 2 * allowed:
        return ""
    return f"its scores for {what} differ by up to {float(far.max()):.1%} from those in torch"


def made_up(
    step: DecodeStep, pool: KVPool, rows: int, context: int, *, seed: int = 0
) -> tuple[Tensor, Tensor, AttentionBatch]:
    """Tokens and positions [rows], and what they see in a pool of `SHARED` + rows blocks, which aren't runs."""
    random = torch.Generator().manual_seed(seed)
    _fill(pool, random)
    size, slots, spans = pool.block_size, [], []
    lengths = [min(LENGTHS[(row + seed) % len(LENGTHS)], context, SHARED * size) for row in range(rows)]
    for row, length in enumerate(lengths):
        used, own = -(-length // size), SHARED + row
        blocks = torch.cat([torch.randperm(SHARED, generator=random)[: used - 1], torch.tensor([own])])
        slots.append(own * size + (length - 1) % size)
        spans.append(Span(row, 1, length, int(blocks[0]) * size, blocks))
    tokens = torch.randint(step.embedding.num_embeddings, (rows,), generator=random)
    return tokens, torch.tensor(lengths) - 1, AttentionBatch(pool, torch.tensor(slots), spans)


def _fill(pool: KVPool, random: torch.Generator) -> None:
    for tensor in (*pool.keys, *pool.values):
        few = torch.randn(pool.block_size, tensor.shape[-1], generator=random)
        tensor.view(len(tensor), -1, *few.shape).copy_(few)
        tensor.mul_(torch.randn(tensor.shape[1], 1, generator=random).to(tensor))


@dataclass(frozen=True)
class MadeUp:
    """Tokens and positions [rows], and what they see."""

    tokens: Tensor
    positions: Tensor
    batch: AttentionBatch


def made_up_chunks(step: DecodeStep, block_size: int, *, seed: int = 0) -> MadeUp:
    """A step of prompts, their beginnings and later parts, and of who decodes, over a pool of its own. Blocks are a run
    for the first of them only."""
    random = torch.Generator().manual_seed(seed)
    spans: list[Span] = []
    slots, positions, begin, start = [], [], 0, 0
    context = len(step.cos)
    for rows, before in ((70, 0), (1, 40), (130, 33), (5, 11), (1, 0)):
        rows = min(rows, context)
        length = min(before, context - rows) + rows
        used = -(-length // block_size)
        blocks = torch.arange(begin, begin + used) if not spans else begin + torch.randperm(used, generator=random)
        places = torch.arange(length - rows, length)
        slots.append(blocks[places // block_size] * block_size + places % block_size)
        positions.append(places)
        spans.append(Span(start, rows, length, int(blocks[0]) * block_size, blocks if spans else None))
        begin, start = begin + used, start + rows
    pool = KVPool(step.llm, begin, block_size)
    _fill(pool, random)
    tokens = torch.randint(step.embedding.num_embeddings, (start,), generator=random)
    return MadeUp(tokens, torch.cat(positions), AttentionBatch(pool, torch.cat(slots), spans))
