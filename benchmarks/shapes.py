"""Random models of a given size, made on the fly: benchmarks need shapes, not weights that know anything.

Knows the sizes of Ovis2.5-2B and 9B, Ovis2.6-30B-A3B and small stand-ins; refuses to know what is measured with them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ovis_app.models.config import OvisConfig
from ovis_app.models.ovis import Ovis

MINI = Path(__file__).resolve().parent.parent / "assets" / "ovis-mini"


@dataclass(frozen=True)
class Shape:
    """Sizes of the language model, of the tower, and of both vocabularies (indicator rows included)."""

    hidden: int
    layers: int
    heads: int
    groups: int  # key-value heads
    forward: int
    tower: tuple[int, int, int, int]  # hidden, layers, heads, feed-forward
    tokens: int = 8192
    words: int = 4096
    tied: bool = True
    size: int = 0  # of a head; 0: hidden over heads
    experts: tuple[int, int, int] | None = None  # how many, chosen for a token, feed-forward of each


_NAVIT = (1152, 27, 16, 4304)  # SigLIP 2 so400m
SHAPES = {
    "tiny": Shape(64, 2, 4, 2, 96, (48, 2, 2, 80)),
    # The least that vLLM takes: it attends on a CPU with heads of 32 values, and has all ids of Ovis2.5 by heart.
    "vllm": Shape(64, 2, 2, 1, 96, (64, 2, 2, 96), tokens=151936, words=516, tied=False),
    "44m": Shape(512, 8, 8, 4, 1536, (384, 6, 6, 1024)),
    "2b": Shape(2048, 28, 16, 8, 6144, _NAVIT, tokens=151936, words=65536),
    "9b": Shape(4096, 36, 32, 8, 12288, _NAVIT, tokens=151936, words=65536, tied=False),
    "30b-a3b": Shape(
        2048, 48, 32, 4, 6144, _NAVIT, tokens=151936, words=65536, tied=False, size=128, experts=(128, 8, 768)
    ),
}


def released_config(shape: str, *, words: int | None = None, tokens: int | None = None) -> dict[str, Any]:
    """An Ovis2.5's config.json of that shape, or an Ovis2.6's where it has experts, with other vocabulary sizes if
    given."""
    size = SHAPES[shape]
    width, depth, heads, forward = size.tower
    mixture: dict[str, Any] = {}
    if size.experts is not None:
        number, chosen, each = size.experts
        mixture = {
            "num_experts": number,
            "num_experts_per_tok": chosen,
            "moe_intermediate_size": each,
            "norm_topk_prob": True,
        }
    return {
        "architectures": ["Ovis2_6_MoeForCausalLM" if mixture else "Ovis2_5"],
        "model_type": "ovis2_6_moe" if mixture else "ovis2_5",
        "hidden_size": size.hidden,
        "tie_word_embeddings": size.tied,
        "visual_vocab_size": words or size.words,
        "llm_config": {
            "model_type": "qwen3_moe" if mixture else "qwen3",
            "hidden_size": size.hidden,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.groups,
            "intermediate_size": size.forward,
            "head_dim": size.size or size.hidden // size.heads,
            "vocab_size": tokens or size.tokens,
            "max_position_embeddings": 40960,
            "rope_theta": 1000000,
            "tie_word_embeddings": size.tied,
            **mixture,
        },
        "vit_config": {
            "model_type": "siglip2_navit",
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "intermediate_size": forward,
        },
    }


def random_model(
    shape: str,
    *,
    words: int | None = None,
    tokens: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
) -> Ovis:
    """An Ovis2.5 of that shape with random weights, made on `device`: bfloat16 on a GPU, float32 elsewhere, or `dtype`.
    `words` and `tokens` set other vocabulary sizes."""
    config = OvisConfig.from_released(released_config(shape, words=words, tokens=tokens))
    dtype = dtype or (torch.bfloat16 if device.startswith("cuda") else torch.float32)
    config.dtype = config.llm_config.dtype = dtype
    torch.manual_seed(seed)
    with torch.device(device), _default(dtype):
        model = Ovis(config)
    model.requires_grad_(False).train(False)
    return model


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def checkpoint(
    shape: str, folder: Path, *, seed: int = 0, device: str = "cpu", dtype: torch.dtype | None = None
) -> Path:
    """A checkpoint folder of that shape that the app can load, with Ovis-mini's tokenizer and a vocabulary of its size,
    so that whatever the random weights say is text. The weights are made on `device`. Returns `folder`."""
    mini = json.loads((MINI / "config.json").read_text("utf-8"))
    raw = released_config(shape, tokens=mini["llm_config"]["vocab_size"])
    raw["llm_config"] |= {key: mini["llm_config"][key] for key in ("bos_token_id", "eos_token_id")}
    folder.mkdir(parents=True, exist_ok=True)
    for file in MINI.iterdir():
        if file.name not in ("model.safetensors", "README.md", "preprocessor_config.json"):
            shutil.copy(file, folder / file.name)
    (folder / "config.json").write_text(json.dumps(raw, indent=1), "utf-8")
    model = random_model(shape, tokens=raw["llm_config"]["vocab_size"], seed=seed, device=device, dtype=dtype)
    _write_weights(model, folder / "model.safetensors")
    return folder


def _write_weights(model: Ovis, file: Path) -> None:
    from safetensors.torch import save_file

    tied = {"llm.lm_head.weight"} if model.llm.config.tie_word_embeddings else set()
    weights = {name: value.contiguous() for name, value in model.state_dict().items() if name not in tied}
    save_file(weights, file, metadata={"format": "pt"})


def device_of(wanted: str = "auto") -> str:
    """ "cuda" where there is one, else "cpu"; or what was `wanted`."""
    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
