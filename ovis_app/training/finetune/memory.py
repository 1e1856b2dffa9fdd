"""How much memory a fine-tuning takes, before anything of note is loaded, and what to lower where there is less.

An estimate: weights, what is learnt with its gradients and moments, activations, logits, vision. Loads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ovis_app.checkpoints import memory_fit
from ovis_app.checkpoints.placement import Placement
from ovis_app.models.config import OvisConfig
from ovis_app.models.devices import SMALL
from ovis_app.training.finetune.choices import Choices
from ovis_app.zoo import ModelSpec

LEARNT = 16  # bytes of a parameter that is learnt: itself, its gradient and two moments, in float32
LOGIT = 10  # bytes of a logit: as computed, in float32, and its gradient
VISION = (0.5e9, 2.5e9)  # a tower that is only looked through, and one that learns; a tenth for a small model
CONTEXT = {"cpu": 0.6e9}  # bytes that the libraries take, of a device
OTHER_CONTEXT = 1.5e9
FEWER = 2  # times that `max_tokens` is halved in the search for what would fit


@dataclass(frozen=True)
class Batch:
    """What one step holds at most: tokens, and those that are learnt."""

    tokens: int
    learnt: int


def needed(spec: ModelSpec, config: OvisConfig, placement: Placement, choices: Choices, batch: Batch) -> int:
    """Bytes at the peak of a step."""
    size, llm = placement.dtype.itemsize, config.llm_config
    experts = getattr(llm, "num_experts", 0)
    inner = llm.moe_intermediate_size * llm.num_experts_per_tok if experts else llm.intermediate_size
    a_layer = batch.tokens * (20 * llm.hidden_size + 5 * inner) * size  # of activations
    kept = batch.tokens * llm.hidden_size * size if choices.checkpointing else a_layer
    activations = llm.num_hidden_layers * kept + (a_layer if choices.checkpointing else 0)
    vision = VISION["tower" in choices.part_names] * (1 if spec.parameters > SMALL else 0.1)
    logits = batch.learnt * llm.vocab_size * LOGIT
    return round(
        held(spec, placement, choices, config) + activations + logits + vision
        + CONTEXT.get(placement.device, OTHER_CONTEXT)
    )  # fmt: skip


def held(spec: ModelSpec, placement: Placement, choices: Choices, config: OvisConfig | None = None) -> int:
    """Bytes of the weights, and of what is learnt with its gradients and moments; that of a LoRA is known by its
    config alone."""
    facts = spec.llm or memory_fit.alike(spec)
    weights = memory_fit.weights(spec, facts, placement.dtype.itemsize, placement.quantize)
    if choices.method == "lora":
        return weights + (LEARNT * adapter_parameters(config, choices) if config else 0)
    learnt = spec.parameters if set(choices.part_names) > {"llm"} else min(facts.linears * 1.25, spec.parameters)
    copies = LEARNT if placement.dtype.itemsize == 2 else LEARNT - 4  # in float32 the weights are what is learnt
    return round(weights + 1e9 * learnt * copies)


def adapter_parameters(config: OvisConfig, choices: Choices) -> int:
    """Of a LoRA on every linear layer of the parts that learn, and on the visual table."""
    llm, tower = config.llm_config, config.vision_config
    head = getattr(llm, "head_dim", None) or llm.hidden_size // llm.num_attention_heads
    keys = getattr(llm, "num_key_value_heads", None) or llm.num_attention_heads
    ends = 0
    if "llm" in choices.part_names:
        ends += llm.num_hidden_layers * _ends(
            llm.hidden_size,
            llm.num_attention_heads * head,
            keys * head,
            llm.intermediate_size,
            0 if hasattr(llm, "num_experts") else 3,
        )
    if "tower" in choices.part_names:
        width = tower["hidden_size"]
        ends += tower["num_hidden_layers"] * _ends(width, width, width, tower["intermediate_size"], 2)
    if "head" in choices.part_names:
        ends += tower["hidden_size"] * tower.get("hidden_stride", 1) ** 2 + config.visual_vocab_size
    if "vte" in choices.part_names:
        ends += config.visual_vocab_size + llm.hidden_size
    return choices.rank * ends


def _ends(hidden: int, queries: int, keys: int, inner: int, products: int) -> int:
    """Inputs and outputs of a layer's linear modules together."""
    return 2 * (hidden + queries) + 2 * (hidden + keys) + products * (hidden + inner)


def advice(
    spec: ModelSpec, config: OvisConfig, placement: Placement, choices: Choices, batch: Batch, free: int
) -> Iterator[str]:  # fmt: skip
    """What would fit where the plan doesn't, in the words of flags."""

    def fits(batch: Batch = batch, placement: Placement = placement, **changes: Any) -> bool:
        return needed(spec, config, placement, replace(choices, **changes), batch) <= free

    if choices.method == "full" and fits(method="lora"):
        yield "--method lora"
    if choices.batch > 1 and fits(Batch(batch.tokens // choices.batch, batch.learnt // choices.batch)):
        yield "--batch 1"
    if not choices.checkpointing and fits(checkpointing=True):
        yield "--checkpointing"
    if choices.method == "lora" and placement.quantize == "none" and fits(placement=placement.with_quantize("int4")):
        yield "--quantize int4"
    for _ in range(FEWER):
        batch = Batch(batch.tokens // 2, batch.learnt // 2)
        if fits(batch):
            yield f"--max-tokens {batch.tokens // choices.batch} or fewer --max-pixels"
            return
