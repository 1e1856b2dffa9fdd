"""A step looks at no value on its way, which a recording of it as a graph needs: on the meta device there are none."""

from __future__ import annotations

import copy

import pytest
import torch

from ovis_app.engine.attention.torch_attention import NAME, AttentionBatch, Span
from ovis_app.engine.decode_step import DecodeStep, unfit
from ovis_app.engine.kv_pool import KVPool
from tests.engine.driven import FAMILIES
from tests.engine.prompts import tiny

SPANS = [Span(0, 5, 5, 0, None), Span(5, 1, 30, 16, None), Span(6, 3, 9, 0, torch.tensor([9, 4, 6]))]


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_step_of_every_family_runs_without_a_value(family: str) -> None:
    """Prefill, decoding, and a table that isn't a run; the window of Gemma 2 is shorter than one of them."""
    llm = copy.deepcopy(tiny(family).model.llm).to("meta")
    llm.set_attn_implementation(NAME)
    batch = AttentionBatch(KVPool(llm, 40, 4), torch.arange(9), SPANS)
    out = llm(
        inputs_embeds=torch.empty(1, 9, llm.config.hidden_size, device="meta"),
        position_ids=torch.arange(9, device="meta")[None],
        use_cache=False,
        logits_to_keep=torch.tensor([4, 5, 8], device="meta"),
        blocks=batch,
    )
    assert out.logits.shape == (1, 3, llm.config.vocab_size) and out.logits.device.type == "meta"


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "ovis1.6"])
def test_the_step_by_hand_of_every_family_runs_without_a_value(family: str) -> None:
    llm = copy.deepcopy(tiny(family).model.llm).to("meta")
    assert unfit(llm) == ""
    spans = [Span(0, 1, 5, 0, None), Span(1, 1, 9, 0, torch.tensor([9, 4, 6]))]
    batch = AttentionBatch(KVPool(llm, 40, 4), torch.arange(2), spans)
    found = DecodeStep(llm, context=64)(torch.tensor([3, 4]), torch.tensor([4, 8]), batch)
    assert found.shape == (2, llm.config.vocab_size) and found.device.type == "meta"
