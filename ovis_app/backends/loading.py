"""The model singleton: one copy of each model in the process, loaded by whoever asks first.

Knows folders, devices and precisions; refuses to know requests and conversations.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging

from ovis_app import zoo
from ovis_app.engine.solo import Ending
from ovis_app.generation import BackendError
from ovis_app.models.hub import Progress, folder_of, unheard
from ovis_app.models.memory import fit
from ovis_app.models.ovis import Ovis, load
from ovis_app.models.prompt import PromptTokenizer
from ovis_app.models.question import chat_format
from ovis_app.zoo import ModelSpec

TOKENIZERS = ("tokenizer.json", "vocab.json", "tokenizer.model")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A model with everything that reads and writes its tokens."""

    model: Ovis
    prompts: PromptTokenizer
    decoder: Tokenizer
    ending: Ending


_models: dict[tuple[str, str, str, str], Loaded] = {}
_loading = threading.Lock()


def loaded_model(
    spec: ModelSpec, *, device: str, dtype: str, quantize: str = "none", progress: Progress = unheard
) -> Loaded:
    """The process's one copy of a model, loaded by whoever comes first. Raises BackendError, and what `progress`
    raises."""
    place = choose_device(device)
    precision = choose_dtype(dtype, place)
    key = (spec.id, place, str(precision), quantize)
    with _loading:
        if key not in _models:
            started = time.monotonic()
            _models[key] = _load(spec, place=place, precision=precision, progress=progress)
            log.info("loaded %s in %.1f s", spec.name, time.monotonic() - started)
        return _models[key]


def release(keep: Loaded | None = None) -> None:
    """Forgets every model but `keep`, and gives their memory back once nobody else holds them."""
    with _loading:
        for key in [key for key, loaded in _models.items() if loaded is not keep]:
            del _models[key]
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def held_bytes() -> int:
    """What the loaded models' weights take, which `release` would give back."""
    return sum(tensor.nbytes for loaded in _models.values() for tensor in loaded.model.state_dict().values())


def _load(spec: ModelSpec, *, place: str, precision: torch.dtype, progress: Progress = unheard) -> Loaded:
    transformers_logging.disable_progress_bar()  # the page and the command line have their own
    refuse_what_cannot_fit(spec, place, precision)
    folder = folder_of(spec, progress)
    progress(f"Loading {spec.name}", None)
    model = load(folder, dtype=precision, device=place)
    try:
        if not any((folder / name).is_file() for name in TOKENIZERS):
            raise FileNotFoundError("no tokenizer file")
        tokenizer = AutoTokenizer.from_pretrained(
            folder, config=model.config.llm_config, trust_remote_code=False, local_files_only=True
        )
        prompts = PromptTokenizer(tokenizer)
        ending = _ending(folder, model, tokenizer, prompts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackendError(f"The tokenizer of {spec.name} is missing or damaged: download it again.") from error
    return Loaded(model, prompts, tokenizer.backend_tokenizer, ending)


def _ending(folder: Path, model: Ovis, tokenizer: Any, prompts: PromptTokenizer) -> Ending:
    """Every id that any of the checkpoint's files calls an end, and the end of a turn."""
    named: list[int | Sequence[int] | None] = [tokenizer.eos_token_id, model.config.llm_config.eos_token_id]
    if (folder / "generation_config.json").is_file():
        named.append(GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id)
    ids = {i for entry in named if entry is not None for i in ([entry] if isinstance(entry, int) else entry)}
    turn_end = chat_format(model.config).assistant.partition("{}")[2].strip()
    ids |= {prompts.controls[turn_end]} if turn_end in prompts.controls else set()
    pad = tokenizer.pad_token_id
    return Ending(tuple(sorted(ids)), pad if pad is not None else min(ids))


def refuse_what_cannot_fit(
    spec: ModelSpec, device: str, dtype: torch.dtype | str, quantize: str = "none", *, freed: int = 0
) -> None:
    """Raises BackendError, before any download, when the weights can't fit the memory that is free, or will be once
    `freed` bytes are given back."""
    found = fit(spec, device=device, dtype=dtype, quantize=quantize, freed=freed)
    if found.verdict != "too big":
        return
    half = fit(spec, device=device, dtype=torch.bfloat16, quantize=quantize, freed=freed)
    rows = [row for row in zoo.MODELS if not row.bundled]
    smaller = [
        row for row in rows
        if fit(row, device=device, dtype=dtype, quantize=quantize, freed=freed).verdict != "too big"
    ]  # fmt: skip
    advice = [f"try {max(smaller, key=lambda row: row.parameters).name}"] if smaller else []
    if half.verdict != "too big":
        advice.insert(0, "add --dtype bfloat16")
    raise BackendError(
        f"{spec.name} needs about {found.least / 1e9:.0f} GB and {found.available / 1e9:.0f} GB are free: "
        f"{', or '.join(advice) or 'use a larger machine'}."
    )


def choose_device(wanted: str) -> str:
    """A torch device for "auto" or a name. Raises BackendError when this machine doesn't have it."""
    have = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if have[name])
    kind = wanted.partition(":")[0]
    if not have.get(kind, False):
        raise BackendError(f"This machine has no device {wanted}: use --device auto.")
    return wanted


def choose_dtype(wanted: str, device: str) -> torch.dtype:
    """ "auto" is bfloat16 where the device computes it fast, else float32."""
    if wanted != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wanted]
    fast = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if fast else torch.float32
