"""All of a checkpoint that belongs to tokens: how prompts are written, how answers are read, and which ids end them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from ovis_app.errors import BackendError
from ovis_app.models.config import OvisConfig, called
from ovis_app.models.inputs import chat_format
from ovis_app.models.prompt import PromptTokenizer

FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")
FOREIGN = (
    "The tokenizer of {name} doesn't belong to its weights, which don't have all of its tokens: download it again, or "
    "choose another checkpoint."
)


@dataclass(frozen=True)
class Ending:
    """The ids that end an answer, and the id that fills a batch."""

    eos: tuple[int, ...]
    pad: int


@dataclass(frozen=True)
class ChatTokenizer:
    """`prompts` encodes, `decoder` decodes, `ending` ends an answer."""

    prompts: PromptTokenizer
    decoder: Tokenizer
    ending: Ending


def read_tokenizer(folder: Path, config: OvisConfig, name: str) -> ChatTokenizer:
    """The tokenizer in a checkpoint's folder; `name` is what people call the model. Raises BackendError."""
    if not any((folder / file).is_file() for file in FILES):
        raise BackendError(f"{name} has no tokenizer: add the original model's tokenizer.json, or choose another.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, config=config.llm_config, trust_remote_code=False, local_files_only=True
        )
        if not fits(tokenizer, int(config.llm_config.vocab_size)):
            raise BackendError(FOREIGN.format(name=name))
        prompts = PromptTokenizer(tokenizer)
        return ChatTokenizer(prompts, tokenizer.backend_tokenizer, ending_of(folder, config, tokenizer, prompts))
    except BackendError:
        raise
    except Exception as error:  # the library's errors for damaged files are of many kinds, some plain Exception
        raise BackendError(f"The tokenizer of {name} is damaged: download it again.") from error


def fits(tokenizer: Any, rows: int) -> bool:
    """Whether each token has a row among so many. A number that is far beyond takes gigabytes where it is written down,
    and one that is just beyond ends a GPU's work for everybody, once somebody types it."""
    return all(0 <= number < rows for number in tokenizer.get_vocab().values())


def ending_of(folder: Path, config: OvisConfig, tokenizer: Any, prompts: PromptTokenizer) -> Ending:
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
