"""No forward looks at a value: every family's modules over our attention, and the decode step, run on the meta device.

There tensors have shapes and nothing else, so whoever asks for a value fails. It is what a CUDA graph needs.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ovis_app.engine.attention.torch_attention import NAME, AttentionBatch, Span
from ovis_app.engine.decode_step import MODEL_TYPES, DecodeStep
from ovis_app.engine.kv_pool import KVPool

FAMILIES = (*MODEL_TYPES, "gemma2")
SIZES = {
    "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96,
    "num_hidden_layers": 2, "vocab_size": 300, "sliding_window": 24, "num_experts": 8, "moe_intermediate_size": 32,
}  # fmt: skip
TYPES = {"qwen3_moe": torch.bfloat16}  # torch groups products of shapes alone in no other
CHUNK = ([40, 1, 1], [40, 33, 1])  # rows and tokens seen of a first chunk, and of two sequences that decode
DECODE = ([1, 1, 1], [33, 1, 50])


def on_meta(family: str) -> PreTrainedModel:
    config = AutoConfig.for_model(family, **SIZES)
    with torch.device("meta"):
        llm: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    llm.set_attn_implementation(NAME)
    return llm.to(TYPES.get(family, torch.float32)).eval()


def batch_of(llm: PreTrainedModel, rows: list[int], seen: list[int]) -> AttentionBatch:
    """One sequence's blocks are a run, another's aren't."""
    pool, spans, start = KVPool(llm, 12, 16), [], 0
    for number, (some, context) in enumerate(zip(rows, seen, strict=True)):
        blocks = None if number != 1 else torch.tensor([9, 7, 11])
        spans.append(Span(start, some, context, 64 * number, blocks))
        start += some
    return AttentionBatch(pool, torch.arange(start), spans)


@pytest.mark.parametrize("rows", [CHUNK, DECODE], ids=["chunk", "decode"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_modules_look_at_no_value(family: str, rows: tuple[list[int], list[int]]) -> None:
    llm = on_meta(family)
    batch, count = batch_of(llm, *rows), sum(rows[0])
    out: Any = llm(
        inputs_embeds=torch.empty(1, count, 64, device="meta", dtype=llm.dtype),
        position_ids=torch.arange(count, device="meta")[None],
        use_cache=False,
        logits_to_keep=torch.tensor([count - 1], device="meta"),
        blocks=batch,
    )
    assert out.logits.shape == (1, 1, 300) and out.logits.is_meta


@pytest.mark.parametrize("family", MODEL_TYPES)
def test_the_decode_step_looks_at_no_value(family: str) -> None:
    llm = on_meta(family)
    step = DecodeStep(llm, context=64)
    logits = step(torch.tensor([3, 4, 5]), torch.tensor([32, 0, 49]), batch_of(llm, *DECODE))
    assert logits.shape == (3, 300) and logits.is_meta
