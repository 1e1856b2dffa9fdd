"""Language models of random weights, small and odd."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

SIZES = {
    "hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 90,
    "num_hidden_layers": 1, "vocab_size": 101,
}  # fmt: skip
EXPERTS = {"num_experts": 11, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "norm_topk_prob": True}
MIXED = {"num_hidden_layers": 3, "mlp_only_layers": [1]}  # one layer between is dense


def bare(family: str, dtype: torch.dtype) -> PreTrainedModel:
    """Heads of 24 values, or of 16 as Qwen 2 has them by its hidden size."""
    sizes = SIZES if family == "qwen2" else SIZES | {"head_dim": 24}
    if family == "qwen3_moe":
        sizes = sizes | EXPERTS | MIXED
    torch.manual_seed(0)
    llm: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes)).eval()
    with torch.no_grad():
        for weight in llm.parameters():
            if weight.dim() > 1:
                weight.mul_(4)  # answers of small weights don't depend on what was said
            else:
                weight.add_(0.3 * torch.randn_like(weight))
    return llm.to(dtype)
