"""The model singleton: one copy of each model in the process, loaded by whoever asks first.

Knows folders, devices and precisions; refuses to know requests and conversations.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from ovis_app import zoo
from ovis_app.checkpoints import gptq
from ovis_app.checkpoints.hub import Progress, folder_of, unheard
from ovis_app.checkpoints.load import check, load
from ovis_app.checkpoints.memory_fit import Fit, fit
from ovis_app.engine.solo import Ending
from ovis_app.generation import BackendError
from ovis_app.models.config import OvisConfig, called
from ovis_app.models.devices import choose_device, choose_dtype
from ovis_app.models.inputs import chat_format
from ovis_app.models.ovis import Ovis
from ovis_app.models.prompt import PromptTokenizer
from ovis_app.zoo import ModelSpec

QUANTIZE = ("int8", "int4")  # from the better to the smaller
TOKENIZERS = ("tokenizer.json", "vocab.json", "tokenizer.model")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Words:
    """Everything that reads and writes a model's tokens."""

    prompts: PromptTokenizer
    decoder: Tokenizer
    ending: Ending


@dataclass(frozen=True)
class Loaded(Words):
    """A model with its words, and what its files say of it."""

    model: Ovis
    spec: ModelSpec


_models: dict[tuple[str, str, str, str], Loaded] = {}  # by id, device, precision and quantization
_loading = threading.Lock()


def loaded_model(
    spec: ModelSpec, *, device: str, dtype: str, quantize: str = "none", progress: Progress = unheard
) -> Loaded:
    """The process's one copy of a model, loaded by whoever comes first; `progress` hears how far that is, and what it
    raises ends the loading and passes through. Raises BackendError."""
    place = choose_device(device)
    precision = choose_dtype(dtype, place, spec)
    key = (spec.id, place, str(precision), quantize)
    with _loading:
        if key not in _models:
            started = time.monotonic()
            _models[key] = _load(spec, place=place, precision=precision, quantize=quantize, progress=progress)
            log.info("loaded %s in %.1f s", spec.name, time.monotonic() - started)
        return _models[key]


def release(keep: Loaded | None = None) -> None:
    """Forgets every model but `keep`, and gives back to the system what nobody else holds of them."""
    with _loading:
        for key in [key for key, loaded in _models.items() if loaded is not keep]:
            del _models[key]
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # glibc keeps freed memory until it is asked; others have no such call
            ctypes.CDLL(None).malloc_trim(0)


def held_bytes() -> int:
    """What `release` would give back: the loaded models' weights; on GPUs all that this process has there, since what
    the models remember and the engines' buffers and pages go with them."""
    held = list(_models.values())  # another thread may be loading
    if any(loaded.model.device.type == "cuda" for loaded in held):
        return sum(torch.cuda.memory_reserved(number) for number in range(torch.cuda.device_count()))
    return sum(tensor.nbytes for loaded in held for tensor in loaded.model.parameters())


def _load(
    spec: ModelSpec,
    *,
    place: str,
    precision: torch.dtype,
    quantize: str = "none",
    progress: Progress = unheard,
) -> Loaded:
    transformers_logging.disable_progress_bar()  # the page and the command line have their own
    refuse_what_cannot_fit(spec, place, precision, quantize)
    folder = folder_of(spec, progress)
    progress(f"Loading {spec.name}", None)
    words = _words(spec, folder)
    known = replace(zoo.resolve(str(folder)), id=spec.id, name=spec.name)
    if not spec.bundled:  # what the files say, where the name told little
        refuse_what_cannot_fit(known, place, precision, quantize)
    model = load(folder, dtype=precision, device=place, quantize=quantize, progress=progress)
    named = spec.bundled or zoo.find(spec.repository) is not None
    return Loaded(words.prompts, words.decoder, words.ending, model, spec if named else known)


def look_over(spec: ModelSpec, folder: Path) -> None:
    """Raises BackendError for all that can be known of a checkpoint's folder before its weights are read: a config that
    is unknown or unreadable, a tokenizer that is missing or damaged, a shard that is missing or incomplete, shapes that
    don't fit. Takes no memory of note."""
    _words(spec, folder)


def _words(spec: ModelSpec, folder: Path) -> Words:
    """Looks the folder over, and reads what of it belongs to tokens. Raises BackendError."""
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise BackendError(f"{spec.name} has no tokenizer: add the original model's tokenizer.json, or choose another.")
    config = check(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, config=config.llm_config, trust_remote_code=False, local_files_only=True
        )
        prompts = PromptTokenizer(tokenizer)
        return Words(prompts, tokenizer.backend_tokenizer, _ending(folder, config, tokenizer, prompts))
    except BackendError:
        raise
    except Exception as error:  # the library's errors for damaged files are of many kinds, some plain Exception
        raise BackendError(f"The tokenizer of {spec.name} is damaged: download it again.") from error


def _ending(folder: Path, config: OvisConfig, tokenizer: Any, prompts: PromptTokenizer) -> Ending:
    """Every id that any of the checkpoint's files calls an end, and the end of a turn."""
    named: list[int | Sequence[int] | None] = [tokenizer.eos_token_id, config.llm_config.eos_token_id]
    named.append(_generation_end(folder))
    ids = {i for entry in named if entry is not None for i in ([entry] if isinstance(entry, int) else entry)}
    turn_end = chat_format(config).assistant.partition("{}")[2].strip()
    ids |= {prompts.controls[turn_end]} if turn_end in prompts.controls else set()
    pad = tokenizer.pad_token_id
    return Ending(tuple(sorted(ids)), pad if pad is not None else min(ids))


def _generation_end(folder: Path) -> int | list[int] | None:
    """What generation_config.json calls an end. Raises BackendError."""
    file = folder / "generation_config.json"
    if not file.is_file():
        return None
    try:
        end = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id")
        if end is None or all(isinstance(one, int) for one in ([end] if isinstance(end, int) else list(end))):
            return end  # type: ignore[no-any-return]
        raise TypeError(f"eos_token_id is {end!r}")
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise BackendError(f"generation_config.json in {called(folder)} is damaged: download it again.") from error


def refuse_what_cannot_fit(
    spec: ModelSpec, device: str, dtype: torch.dtype | str, quantize: str = "none", *, freed: int = 0
) -> None:
    """Raises BackendError, before any download, when a model can't be used with the memory that is free, or will be
    once `freed` bytes are given back."""
    place = choose_device(device)
    precision = choose_dtype(dtype, place, spec) if isinstance(dtype, str) else dtype
    if spec.quantization:
        gptq.refuse_without_means(spec.name, place)

    def tried(row: ModelSpec, dtype: torch.dtype = precision, quantize: str = quantize) -> Fit:
        return fit(row, device=place, dtype=dtype, quantize=quantize, freed=freed)

    found = tried(spec)
    if found.verdict != "too big":
        return
    advice = []
    if precision == torch.float32 and tried(spec, torch.bfloat16).verdict != "too big":
        advice.append("add --dtype bfloat16")
    elif not spec.quantization and place != "mps":
        ways = [bits for bits in QUANTIZE if tried(spec, quantize=bits).verdict != "too big"]
        advice += [f"add --quantize {bits}" for bits in ways[:1]]
    rows = [row for row in zoo.MODELS if not row.bundled and not row.quantization]
    smaller = [row for row in rows if tried(row).verdict != "too big"]
    if smaller:
        advice.append(f"try {max(smaller, key=lambda row: row.parameters).name}")
    raise BackendError(
        f"{spec.name} needs about {found.least / 1e9:.0f} GB and {found.available / 1e9:.0f} GB are free: "
        f"{', or '.join(advice) or 'use a larger machine'}."
    )
