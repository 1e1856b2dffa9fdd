"""The checkpoint of OvisOCR2, which is no Ovis inside: transformers' own class, filled from safetensors alone.

Knows files and that class; refuses to know questions and threads.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, GenerationConfig
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5ForConditionalGeneration
from transformers.utils import logging as transformers_logging

from ovis_app.checkpoints.placement import Placement
from ovis_app.checkpoints.tokenizer import FOREIGN, Ending, fits
from ovis_app.errors import BackendError
from ovis_app.models.page_prompt import CONTROLS, Tower
from ovis_app.models.prompt import PromptTokenizer
from ovis_app.zoo import PAGE_READER

log = logging.getLogger(__name__)

ATTENTION = "sdpa"  # whatever config.json names: that may be code on the hub, which transformers fetches and runs
UNKNOWN = "{name} isn't made as OvisOCR2 is: choose another folder, or download it again."
DAMAGED = "{name} can't be loaded, since its {what}: download it again, or choose another checkpoint."


@dataclass(frozen=True)
class PageReader:
    """A model that reads pages, with all that belongs to it. `context` is tokens of a prompt and its answer."""

    model: Qwen3_5ForConditionalGeneration
    tokenizer: Any
    prompts: PromptTokenizer
    tower: Tower
    ending: Ending
    context: int


def load(folder: Path, name: str, placement: Placement) -> PageReader:
    """The model of a folder, on its device, ready to answer; `name` is what people call it. Raises BackendError."""
    config = _facts(folder / "config.json", name)
    if config.get("model_type") != PAGE_READER:
        raise BackendError(UNKNOWN.format(name=name))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        if not fits(tokenizer, int(config["text_config"]["vocab_size"])):
            raise BackendError(FOREIGN.format(name=name))
        prompts = PromptTokenizer(tokenizer)
        if not set(CONTROLS) <= set(prompts.controls):
            raise BackendError(UNKNOWN.format(name=name))
    except BackendError:
        raise
    except Exception as error:  # the library's errors for damaged files are of many kinds, some plain Exception
        raise BackendError(DAMAGED.format(name=name, what="tokenizer is missing or damaged")) from error
    model = _filled(folder, name, placement)
    file = folder / "preprocessor_config.json"
    try:
        tower = Tower.read(model.config.vision_config, _facts(file, name) if file.is_file() else {})
    except ValueError as error:
        raise BackendError(DAMAGED.format(name=name, what=f"preprocessor_config.json is odd ({error})")) from error
    if prompts.controls[CONTROLS[1]] != model.config.image_token_id:
        raise BackendError(DAMAGED.format(name=name, what="tokenizer and its config.json don't belong together"))
    ending = _ending(model, tokenizer, prompts)
    model.generation_config = GenerationConfig()  # sampling is the request's affair, not the checkpoint's
    context = int(model.config.get_text_config().max_position_embeddings)
    return PageReader(model, tokenizer, prompts, tower, ending, context)


def _filled(folder: Path, name: str, placement: Placement) -> Qwen3_5ForConditionalGeneration:
    """Raises BackendError where a weight is missing, or of another shape."""
    transformers_logging.disable_progress_bar()  # the page and the command line have their own
    try:
        model, told = Qwen3_5ForConditionalGeneration.from_pretrained(
            folder, dtype=placement.dtype, use_safetensors=True, local_files_only=True, output_loading_info=True,
            ignore_mismatched_sizes=True, attn_implementation=ATTENTION,
        )  # fmt: skip
    except Exception as error:  # what a stranger's files lead to is of many kinds
        raise BackendError(DAMAGED.format(name=name, what="weights don't fit its config.json")) from error
    wrong = [*told["missing_keys"], *told["mismatched_keys"]]
    if wrong:
        log.info("missing: %s", wrong[:20])
        what = f"weights don't fit its config.json ({len(wrong)} tensors differ)"
        raise BackendError(DAMAGED.format(name=name, what=what))
    return model.to(placement.device).eval()  # type: ignore[no-any-return]


def _ending(model: Qwen3_5ForConditionalGeneration, tokenizer: Any, prompts: PromptTokenizer) -> Ending:
    """Every id that any of the checkpoint's files calls an end, and the end of a turn."""
    named = (model.generation_config.eos_token_id, model.config.get_text_config().eos_token_id, tokenizer.eos_token_id)
    ids = {id for one in named if one is not None for id in (one if isinstance(one, list) else [one])}
    ids.add(prompts.control("<|im_end|>"))
    return Ending(tuple(sorted(ids)), prompts.pad if prompts.pad is not None else min(ids))


def _facts(file: Path, name: str) -> Mapping[str, Any]:
    """A file's JSON object. Raises BackendError."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        raise TypeError(type(found).__name__)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise BackendError(DAMAGED.format(name=name, what=f"{file.name} is missing or damaged")) from error
