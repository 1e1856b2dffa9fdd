"""A tiny Ovis2.6 in the released layout: the eye of a golden Ovis2.5 and a mixture of experts of random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

EYE = Path(__file__).parent / "fixtures" / "golden" / "ovis2.5" / "public-a" / "checkpoint"
EXPERTS, CHOSEN = 8, 2
LLM: dict[str, Any] = {
    "model_type": "qwen3_moe", "vocab_size": 704, "hidden_size": 64, "intermediate_size": 96,
    "moe_intermediate_size": 32, "num_experts": EXPERTS, "num_experts_per_tok": CHOSEN, "norm_topk_prob": True,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "max_position_embeddings": 262144, "rope_theta": 10_000_000, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "rope_scaling": None,
}  # fmt: skip


def language_model(**changes: Any) -> PreTrainedModel:
    """transformers' own, of random weights that are large enough to say more than one word."""
    facts = {key: value for key, value in (LLM | changes).items() if value is not None and key != "torch_dtype"}
    torch.manual_seed(0)
    llm: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(**facts)).eval()
    with torch.no_grad():
        for weight in llm.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3 + (weight.dim() == 1))
    return llm


def released(llm: PreTrainedModel) -> dict[str, Tensor]:
    """Its weights as they are released: each expert's by themselves."""
    found: dict[str, Tensor] = {}
    for name, weight in llm.state_dict().items():
        stem, experts, leaf = f"llm.{name}".partition(".experts.")
        if not experts:
            found[stem] = weight
            continue
        for number, part in enumerate(weight):
            halves = zip(("gate_proj", "up_proj"), part.chunk(2), strict=True)
            for one, values in halves if leaf == "gate_up_proj" else [("down_proj", part)]:
                found[f"{stem}.experts.{number}.{one}.weight"] = values.contiguous()
    return found


def checkpoint(
    folder: Path, llm: PreTrainedModel | None = None, *,
    change: Callable[[dict[str, Tensor]], None] = lambda tensors: None, **config: Any,
) -> Path:  # fmt: skip
    """Writes one. `change` may spoil the tensors, `config` changes of the language model's."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in EYE.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, folder)
    raw = json.loads((EYE / "config.json").read_text("utf-8"))
    raw |= {"model_type": "ovis2_6_moe", "architectures": ["Ovis2_6_MoeForCausalLM"], "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(raw | {"llm_config": LLM | config}), "utf-8")
    weights = load_file(EYE / "model.safetensors")
    weights = {name: value for name, value in weights.items() if not name.startswith("llm.")}
    weights = {name: value for name, value in weights.items() if "post_layernorm" not in name}  # 2.6 is without
    weights |= released(language_model() if llm is None else llm)
    change(weights)
    save_file(weights, folder / "model.safetensors")
    return folder
