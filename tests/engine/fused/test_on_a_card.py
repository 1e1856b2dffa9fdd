"""The fused step as a card runs it, recorded: for whoever has one, all else is proved without."""

from __future__ import annotations

import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("there is no GPU here", allow_module_level=True)
pytest.importorskip("triton", reason="Triton isn't installed")

from ovis_app.engine.decode_step import DecodeStep
from ovis_app.engine.fused.fused_step import FusedStep
from ovis_app.engine.fused.graphs import Graphs
from ovis_app.engine.fused.prefill import FusedPrefill
from ovis_app.engine.fused.routing import heard, led
from ovis_app.engine.fused.trial import SHARED, made_up, made_up_chunks
from ovis_app.engine.kv_pool import KVPool
from tests.engine.fused.tiny_models import bare

APART = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}  # as a share of the whole
CONTEXT, ROUNDS = 100, 3


@pytest.mark.parametrize("dtype", list(APART), ids=str)
@pytest.mark.parametrize("family", ["qwen3", "qwen2", "llama", "qwen3_moe"])
@torch.inference_mode()
def test_recorded_steps_give_the_logits_of_the_step_in_torch(family: str, dtype: torch.dtype) -> None:
    """Every batch size, filled and padded, with other lengths each time one graph is launched."""
    llm = bare(family, dtype).to("cuda")  # type: ignore[arg-type]
    step = DecodeStep(llm, context=CONTEXT)
    pools = [KVPool(llm, SHARED + 64, 16) for _ in range(2)]
    made = FusedStep(step, pools[0], context=CONTEXT, most_rows=64, record=Graphs(torch.device("cuda")).record)
    for _ in made.prepare(seconds=300):
        pass
    assert made.ready == made.sizes, made.why
    for seed in range(ROUNDS):
        for rows in (1, 2, 3, 4, 7, 8, 16, 33, 64):
            asked = [made_up(step, pool, rows, CONTEXT, seed=seed) for pool in pools]
            found = made(*asked[0]).float()
            expected = led(step, made.routings(rows))[0](*asked[1]).float()
            apart = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
            assert float(apart.max()) < APART[dtype], (rows, seed)
            for ours, theirs in zip(pools[0].keys, pools[1].keys, strict=True):
                assert float((ours.float() - theirs.float()).abs().max()) < APART[dtype] * float(theirs.abs().max())


@pytest.mark.parametrize("dtype", list(APART), ids=str)
@pytest.mark.parametrize("family", ["qwen3", "qwen2", "llama", "qwen3_moe"])
@torch.inference_mode()
def test_prompts_give_the_logits_of_the_step_in_torch(family: str, dtype: torch.dtype) -> None:
    llm = bare(family, dtype).to("cuda")  # type: ignore[arg-type]
    step = DecodeStep(llm, context=400)
    watched, routings = heard(step)
    made = FusedPrefill(watched)
    list(made.prepare(16))
    assert made.ready
    for seed in range(ROUNDS):
        ours, theirs = (made_up_chunks(step, 16, seed=seed) for _ in range(2))
        rows = step.embedding(ours.tokens.to("cuda"))
        routings.clear()
        found = made(rows, ours.positions, ours.batch, torch.arange(len(rows), device="cuda")).float()
        expected = led(step, routings)[0](theirs.tokens, theirs.positions, theirs.batch).float()
        apart = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
        assert float(apart.max()) < APART[dtype], seed
        for one, other in zip(ours.batch.pool.keys, theirs.batch.pool.keys, strict=True):
            assert float((one.float() - other.float()).abs().max()) < APART[dtype] * float(other.abs().max())
