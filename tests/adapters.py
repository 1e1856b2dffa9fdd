"""Adapters for tests: in peft's format, made by hand, so that peft needn't be there; and a question to compare by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ovis_app.models.config import OvisConfig
from ovis_app.models.ovis import Ovis, blank_picture
from ovis_app.models.prompt import FIRST_INDICATOR, VISUAL_ATOM

GOLDEN = Path(__file__).parent / "fixtures" / "golden"
FAMILIES = ("ovis1.6", "ovis2", "ovis2.5")
PREFIX = "base_model.model."
MODULE = "llm.model.layers.0.mlp.down_proj"
CONFIG: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "init_lora_weights": True}


def checkpoint(family: str) -> Path:
    return GOLDEN / family / "public-a" / "checkpoint"


def pair(module: str, inputs: int, outputs: int, r: int = 2, *, seed: int = 0, size: float = 0.3) -> dict[str, Tensor]:
    """A Linear module's two matrices."""
    random = torch.Generator().manual_seed(seed)
    a = torch.randn(r, inputs, generator=random) * size
    b = torch.randn(outputs, r, generator=random) * size
    return {f"{PREFIX}{module}.lora_A.weight": a, f"{PREFIX}{module}.lora_B.weight": b}


def written(folder: Path, tensors: Mapping[str, Tensor] | None = None, **config: Any) -> Path:
    """An adapter's folder; of one module of the tiny checkpoints where nothing else is said."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
    save_file(dict(pair(MODULE, 96, 64) if tensors is None else tensors), folder / "adapter_model.safetensors")
    return folder


def picture(config: OvisConfig) -> tuple[Tensor, Any, int]:
    """Pixels of some colours, their grids, and how many visual tokens they are."""
    blank = blank_picture(config)
    values = torch.randn(blank.values.shape, generator=torch.Generator().manual_seed(7))
    return values, blank.grids, blank.tokens


def prompt(model: Ovis, *, tokens: int = 12, seed: int = 1) -> tuple[list[int], dict[str, Any]]:
    """Ids with a picture in them, and its pixels."""
    values, grids, count = picture(model.config)
    random = torch.Generator().manual_seed(seed)
    words = torch.randint(3, 600, (tokens,), generator=random).tolist()
    ids = [*words[:3], FIRST_INDICATOR, *[VISUAL_ATOM] * count, FIRST_INDICATOR - 1, *words[3:]]
    return ids, {"pixel_values": values, "grids": grids}


@torch.inference_mode()
def logits(model: Any, base: Ovis | None = None) -> Tensor:
    """Of every place of a question with a picture in it."""
    ids, pixels = prompt(model if base is None else base)
    return model(input_ids=torch.tensor([ids]), **pixels).logits[0]
