"""Checkpoints that were released quantized by GPTQ, through gptqmodel, which is an optional extra and wants a GPU."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

from ovis_app.errors import BackendError
from ovis_app.models.config import OvisConfig, called
from ovis_app.models.ovis import Ovis

LIBRARIES = ("gptqmodel", "optimum")
LAYERS = "llm.model.layers"


def needs(device: str) -> str:
    """What this machine lacks for GPTQ, in a few words; empty where it lacks nothing."""
    if not device.startswith("cuda"):
        return "needs an NVIDIA GPU"
    missing = [library for library in LIBRARIES if find_spec(library) is None]
    return f"needs {' and '.join(missing)}" if missing else ""


def refuse_without_means(name: str, device: str) -> None:
    """Raises BackendError where this machine can't run GPTQ: said before anything is downloaded."""
    lacks = needs(device)
    if lacks:
        way = "choose the model without GPTQ" if "GPU" in lacks else f"pip install {' '.join(LIBRARIES)}"
        raise BackendError(f"{name} is quantized by GPTQ and {lacks}: {way}.")


def load(folder: Path, config: OvisConfig, *, dtype: torch.dtype, device: str) -> Ovis:
    """The model, its language model's layers by gptqmodel's kernels. Raises BackendError."""
    refuse_without_means(called(folder), device)
    from transformers import GPTQConfig

    facts = {key: value for key, value in (config.quantization or {}).items() if key != "quant_method"}
    try:
        config.quantization_config = GPTQConfig.from_dict({**facts, "block_name_to_quantize": LAYERS})
        return Ovis.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            device_map={"": device},
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:  # the loader's own errors are many and name paths; the cause goes to the log
        raise BackendError(
            f"{called(folder)} can't be loaded by gptqmodel: update gptqmodel and optimum, or choose another model."
        ) from error
