"""What the engine can do with one loaded model here, and why not more: values for the log, the page and figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn

from ovis_app.engine import decode_step
from ovis_app.models.ovis import Ovis

LAYER_TYPES = {"full_attention", "sliding_attention"}  # that the KV pool serves
NOT_RECORDED = "graphs aren't recorded for a single answer"
AMPERE = (8, 0)  # compute capability of the first cards that the fused step is for


@dataclass(frozen=True)
class Capabilities:
    """How steps are made. `why` says what keeps a faster way out, in a few words."""

    # plain: by transformers' generate, since the engine can't serve the model
    decode: Literal["fused", "by hand", "modules", "plain"]
    attention: Literal["triton", "torch"]
    why: str = ""
    recorded: bool = False  # one graph a batch size; until a size's graph is ready, its steps are made by hand

    @classmethod
    def of(cls, model: Ovis, *, record: bool = True) -> Capabilities:
        """`record` says whether steps may be recorded; where they mayn't, CUDA isn't asked for anything."""
        config: Any = model.llm.config.get_text_config()
        odd = set(getattr(config, "layer_types", None) or []) - LAYER_TYPES
        if odd:
            return cls("plain", "torch", f"{config.model_type} has layers of {' and '.join(sorted(odd))}")
        lacks = decode_step.unfit(model.llm)
        if lacks:
            return cls("modules", "torch", lacks)
        if model.device.type != "cuda":
            return cls("by hand", "torch")
        lacks = _not_fused(model) if record else NOT_RECORDED
        return cls("by hand", "torch", lacks) if lacks else cls("fused", "triton", recorded=True)

    def without_fused(self, why: str) -> Capabilities:
        """What is left once the fused step turned out not to be used."""
        return replace(self, decode="by hand", attention="torch", recorded=False, why=why)

    def __str__(self) -> str:
        how = f"decode {self.decode}{', recorded' if self.recorded else ''}, attention in {self.attention}"
        return how + (f" ({self.why})" if self.why else "")


def _not_fused(model: Ovis) -> str:
    """Why a model on CUDA, whose steps can be made by hand, is without the fused one. The step in torch can't be
    recorded in its place: it looks at each sequence's keys as a view, whose length changes."""
    if torch.version.hip is not None:
        return "the fused step wasn't tried on AMD's cards"
    if find_spec("triton") is None:
        return "Triton isn't installed, and a step in torch can't be recorded"
    if torch.cuda.get_device_capability(model.device) < AMPERE:
        return "the card is older than Ampere"
    if any(isinstance(part, nn.Linear) and part.bias is not None for part in _unbiased(model)):
        return "its projections have biases"
    mixed = [part for part in model.llm.modules() if decode_step.is_mixed(part)]
    if not all(decode_step.Mixture(part).known for part in mixed):
        return "its experts have no kernel of ours"
    return ""


def _unbiased(model: Ovis) -> list[nn.Module]:
    """Layers that the fused step multiplies by alone; queries, keys and values may have biases."""
    ends = (".o_proj", ".gate_proj", ".up_proj", ".down_proj", "lm_head")
    return [module for name, module in model.llm.named_modules() if name.endswith(ends)]
