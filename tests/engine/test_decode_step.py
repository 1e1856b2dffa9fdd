"""A token made by hand is the token that the model's own modules make, and what can't be made by hand is told."""

from __future__ import annotations

import copy
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM as Models
from transformers import (
    Gemma2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from ovis_app.engine.block_manager import BlockManager
from ovis_app.engine.decode_step import DecodeStep, unfit
from ovis_app.engine.kv_pool import KVPool
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.engine.scheduler import Chunk
from ovis_app.engine.sequence import Sequence
from tests.engine.driven import SHORT, text
from tests.engine.engines import engine_over
from tests.engine.prompts import Tiny, tiny

SMALL: dict[str, Any] = {
    "vocab_size": 90, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
MIXED: dict[str, Any] = {"head_dim": 12, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
CONFIGS: dict[str, PreTrainedConfig] = {
    "qwen2": Qwen2Config(**SMALL),
    "qwen3": Qwen3Config(**SMALL, head_dim=12),
    "qwen3 with biases": Qwen3Config(**SMALL, attention_bias=True),
    "experts": Qwen3MoeConfig(**SMALL, **MIXED),
    "experts in one layer of two": Qwen3MoeConfig(**SMALL, **MIXED, mlp_only_layers=[0]),
    "tied": Qwen3Config(**SMALL, tie_word_embeddings=True),
    "llama": LlamaConfig(**SMALL),
    "llama with biases": LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True),
    "llama of one group": LlamaConfig(**{**SMALL, "num_key_value_heads": 1}),
    "llama without groups": LlamaConfig(**{**SMALL, "num_key_value_heads": 4}),
    "llama 3 rope": LlamaConfig(**SMALL, rope_parameters=LLAMA3),
    "yarn": Qwen3Config(**SMALL, rope_parameters=YARN),
    "linear rope": LlamaConfig(**SMALL, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}),
}


def random_llm(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    llm = Models.from_config(copy.deepcopy(config)).eval()
    with torch.no_grad():
        for parameter in llm.parameters():  # biases and norms begin as zeros and ones
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.dim() == 1))
    return llm


def as_ovis(llm: PreTrainedModel) -> Any:
    """What a runner needs of an Ovis, for texts alone."""
    return SimpleNamespace(
        llm=llm,
        device=llm.device,
        embed=lambda ids, visual: llm.get_input_embeddings()(ids)[None],
        set_attention=llm.set_attn_implementation,
    )


def both_ways(model: Any, step: DecodeStep) -> tuple[Tensor, Tensor]:
    """Logits of one more token for each of three sequences: through modules and by hand."""
    pool, manager = KVPool(model.llm, 40, 4), BlockManager(40, block_size=4)
    modules, by_hand = ModelRunner(model, pool), ModelRunner(model, pool, step)
    ids = torch.randint(0, 80, (66,), generator=torch.Generator().manual_seed(2)).tolist()
    sequences = [Sequence(ids[:end], ids[:end]) for end in (1, 7, 66)]
    for sequence in sequences:
        assert manager.admit(sequence)
    modules.run([Chunk(sequence, len(sequence)) for sequence in sequences])
    for number, sequence in enumerate(sequences):
        sequence.computed = len(sequence)
        sequence.append(11 + number)
        assert manager.grow(sequence)
    chunks = [Chunk(sequence, 1) for sequence in sequences]
    found = modules.run(chunks), by_hand.run(chunks)
    assert found[0] is not None and found[1] is not None and by_hand.decode_step is step
    return found


@pytest.mark.parametrize("family", ["ovis2.5", "ovis2", "llama"])
def test_a_token_by_hand_is_the_modules_token(family: str) -> None:
    model = tiny(family).model
    modules, by_hand = both_ways(model, DecodeStep(model.llm, context=128))
    torch.testing.assert_close(by_hand, modules, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_kind_of_language_model_is_computed_right(kind: str) -> None:
    llm = random_llm(CONFIGS[kind])
    assert unfit(llm) == ""
    modules, by_hand = both_ways(as_ovis(llm), DecodeStep(llm, context=128))
    torch.testing.assert_close(by_hand, modules, atol=1e-5, rtol=1e-5)
    assert modules.std() > 0.1


@pytest.mark.parametrize("kind", ["tied", "llama with biases"])
def test_half_precision_is_near(kind: str) -> None:
    """F.rms_norm rounds once where the modules round twice."""
    llm = random_llm(CONFIGS[kind]).to(torch.bfloat16)
    modules, by_hand = both_ways(as_ovis(llm), DecodeStep(llm, context=128))
    assert float((by_hand - modules).norm()) < 0.05 * float(modules.norm())


def quantized(llm: PreTrainedModel) -> None:
    llm.model.layers[1].mlp.down_proj = type("Linear8bitLt", (torch.nn.Linear,), {})(48, 32, bias=False)


def spread(llm: PreTrainedModel) -> None:
    llm.model.layers[1].to("meta")


@pytest.mark.parametrize(
    ("config", "change", "why"),
    [
        (Gemma2Config(**SMALL, head_dim=8), None, "gemma2 has no decode step of its own"),
        (Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=8, max_window_layers=1), None, "sliding window"),
        (LlamaConfig(**SMALL, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}), None,
         "positions depend on the length"),
        (LlamaConfig(**SMALL, hidden_act="gelu"), None, "activation is gelu"),
        (CONFIGS["llama"], quantized, "weights are quantized"),
        (CONFIGS["llama"], spread, "several devices"),
    ],
)  # fmt: skip
def test_what_has_no_step_by_hand_says_why(config: PreTrainedConfig, change: Any, why: str) -> None:
    llm = random_llm(config)
    if change is not None:
        change(llm)
    assert why in unfit(llm)


def test_weights_that_were_exchanged_are_noticed_and_the_new_ones_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Else half of an answer would come from the old ones, without a word."""
    small = Tiny(copy.deepcopy(tiny("ovis2.5").model), tiny("ovis2.5").prompts)
    with engine_over(small.model) as driven:
        before = driven.generate(text(), SHORT).tolist()
        step = driven.runner.decode_step
        assert step is not None and step.together and not caplog.records
        small.model.load_state_dict(
            {name: value * (1.5 if "_proj" in name else 1) for name, value in small.model.state_dict().items()},
            assign=True,
        )
        assert not step.together
        driven.blocks.clear()  # what the old ones have computed
        with caplog.at_level(logging.WARNING):
            after = driven.generate(text(), SHORT).tolist()
        assert "weights were exchanged" in caplog.text
    assert after == small.plain(text(), SHORT) != before


def test_a_copy_of_a_model_is_not_taken_for_it() -> None:
    llm = random_llm(CONFIGS["qwen2"])
    step = DecodeStep(llm, context=64)
    assert step.together
    other = DecodeStep(copy.deepcopy(llm), context=64)
    assert other.together and step.together
    with torch.no_grad():
        other.layers[0].qkv.weight.zero_()
    assert llm.model.layers[0].self_attn.q_proj.weight.any()
