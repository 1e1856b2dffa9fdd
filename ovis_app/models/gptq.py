"""Checkpoints that were released quantized by GPTQ, through gptqmodel, which is an optional extra and wants a GPU."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

from ovis_app.generation import BackendError
from ovis_app.models.config import OvisConfig
from ovis_app.models.ovis import Ovis

LIBRARIES = ("gptqmodel", "optimum")
LAYERS = "llm.model.layers"


def refuse_without_means(name: str, device: str) -> None:
    """Raises BackendError where this machine can't run GPTQ: said before anything is downloaded."""
    if not device.startswith("cuda"):
        raise BackendError(f"{name} is quantized by GPTQ and needs an NVIDIA GPU: choose the model without GPTQ.")
    missing = [library for library in LIBRARIES if find_spec(library) is None]
    if missing:
        raise BackendError(f"{name} is quantized by GPTQ: pip install {' '.join(missing)} first.")


def load(folder: Path, config: OvisConfig, *, dtype: torch.dtype, device: str) -> Ovis:
    """The model, its language model's layers by gptqmodel's kernels. Raises BackendError."""
    refuse_without_means(folder.name, device)
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
            f"{folder.name} can't be loaded by gptqmodel: update gptqmodel and optimum, or choose another model."
        ) from error
