"""What peft's adapter_config.json says of weights: how strongly each pair of matrices counts, and what was tied.

Kinds of adapters that change more than that are refused by their names. Refuses to know weights and models. What it
reads is a stranger's: its patterns are matched only where that can't take long.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovis_app.errors import AdapterError, visible

CONFIG = "adapter_config.json"
MOST_BYTES = 4 * 2**20
DAMAGED = "The adapter {name} has an adapter_config.json that is damaged: copy it again, or train it anew."
KIND = "The adapter {name} uses {what}, which this app can't add to a model: merge it with peft, or train a plain LoRA."
# Ways to begin that leave the base model as it was.
INITS = (True, False, "gaussian", "orthogonal", "eva")
# Fields that change nothing of how trained matrices are added.
BESIDE = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "corda_config", "eva_config", "exclude_modules", "inference_mode",
        "layers_pattern", "layers_to_transform", "loftq_config", "lora_dropout", "lora_ga_config", "megatron_config",
        "megatron_core", "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "revision",
        "runtime_config", "target_modules", "task_type", "velora_config",
    }
)  # fmt: skip
READ = frozenset(
    {
        "alpha_pattern", "bias", "ensure_weight_tying", "init_lora_weights", "lora_alpha", "r", "rank_pattern",
        "trainable_token_indices", "use_rslora",
    }
)  # fmt: skip
NAMES = {"use_dora": "DoRA", "use_qalora": "QALoRA", "use_bdlora": "BD-LoRA", "alora_invocation_tokens": "aLoRA"}
# A pattern is matched only where it is tame: it repeats single signs, not groups, and tries few ways on a name.
MOST_WAYS, MOST_LENGTH, MOST_PATTERNS = 4096, 200, 32
MOST_NAMES = 4096  # patterns that are plain names
NAME_LENGTH = 60
PLAIN = re.compile(r"[\w.]*")
WILD = re.compile(r"\)[*+?{]|[*+?}][*+?{]|\{|\(\?|\\[1-9AbBZ]")

Indices = tuple[int, ...]


@dataclass(frozen=True)
class AdapterConfig:
    """Ranks and strengths by modules; `tokens` are the rows that were trained, by the module's name or its end."""

    name: str
    base: str  # what it was trained on, as whoever trained it called it; empty: not said
    r: int
    alpha: float
    ranks: Mapping[str, float]
    alphas: Mapping[str, float]
    rank_stabilized: bool
    tied: bool  # embeddings and output layer were kept one
    tokens: Mapping[str, Indices]

    @classmethod
    def read(cls, folder: Path, name: str) -> AdapterConfig:
        """`name` is what people call it. Raises AdapterError."""
        raw = _json(folder / CONFIG, name)
        _refuse_other_kinds(raw, name)
        try:
            return cls(
                name,
                base=_base(raw.get("base_model_name_or_path")),
                r=_rank(raw.get("r", 8)),
                alpha=_number(raw.get("lora_alpha", 8)),
                ranks={key: _rank(value) for key, value in _patterns(raw.get("rank_pattern"), name)},
                alphas={key: _number(value) for key, value in _patterns(raw.get("alpha_pattern"), name)},
                rank_stabilized=bool(raw.get("use_rslora")),
                tied=bool(raw.get("ensure_weight_tying")),
                tokens=_tokens(raw.get("trainable_token_indices")),
            )
        except (TypeError, ValueError, re.error, OverflowError) as error:
            raise AdapterError(DAMAGED.format(name=name)) from error

    def rank(self, module: str) -> int:
        return int(_matched(self.ranks, module, self.r))

    def scale(self, module: str) -> float:
        """What the product of a module's matrices is multiplied by."""
        rank = self.rank(module)
        return _matched(self.alphas, module, self.alpha) / (math.sqrt(rank) if self.rank_stabilized else rank)

    def indices(self, module: str) -> Indices | None:
        """The rows of a table that were trained."""
        return next((found for name, found in self.tokens.items() if module.endswith(name)), None)


def _json(file: Path, name: str) -> dict[str, Any]:
    try:
        if not file.is_file():  # a pipe is waited for, a device has no end
            raise FileNotFoundError(file)
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError("too large")
        raw = json.loads(content.decode("utf-8"))
    except FileNotFoundError as error:
        raise AdapterError(f"There is no {CONFIG} in {name}: name the folder that has one.") from error
    except OSError as error:
        raise AdapterError(f"The adapter {name} can't be read: check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise AdapterError(DAMAGED.format(name=name)) from error
    if not isinstance(raw, dict):
        raise AdapterError(DAMAGED.format(name=name))
    return raw


def _refuse_other_kinds(raw: Mapping[str, Any], name: str) -> None:
    """Raises AdapterError for what isn't LoRA, and for kinds of LoRA that compute something else."""
    kind = raw.get("peft_type")
    if kind != "LORA":
        raise AdapterError(KIND.format(name=name, what=quoted(kind or "a method that it doesn't name")))
    begun = raw.get("init_lora_weights", True)
    if not any(begun is way or (isinstance(way, str) and begun == way) for way in INITS):
        raise AdapterError(KIND.format(name=name, what=f"init_lora_weights={quoted(begun)}"))
    if raw.get("bias", "none") != "none":
        raise AdapterError(KIND.format(name=name, what=f"bias={quoted(raw['bias'])}"))
    others = {key for key, value in raw.items() if value and key not in READ | BESIDE}
    if others:
        what = min(others, key=lambda key: (key not in NAMES, key))
        raise AdapterError(KIND.format(name=name, what=NAMES.get(what, quoted(what))))


def quoted(value: object, most: int = 40) -> str:
    """A stranger's words, as far as they can be shown."""
    return visible(str(value)[:most])


def _base(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError("a base that is no name")
    return (value or "").strip()


def _rank(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 2**20:
        raise ValueError(f"a rank of {value!r}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _tokens(value: Any) -> dict[str, Indices]:
    """Rows by the end of a module's name; peft's list is of the table of the language model."""
    tables = value if isinstance(value, Mapping) else {"embed_tokens": value} if value else {}
    found = {str(name): tuple(rows) for name, rows in tables.items()}
    for rows in found.values():
        if len(set(rows)) < len(rows) or any(isinstance(row, bool) or not isinstance(row, int) for row in rows):
            raise ValueError("rows that are no numbers, or twice the same")
    return found


def _patterns(value: Any, name: str) -> list[tuple[str, Any]]:
    """The entries of a table by patterns. Raises AdapterError for patterns that could take long."""
    entries = list(dict(value or {}).items())
    if len(entries) > MOST_NAMES:
        raise AdapterError(KIND.format(name=name, what=f"{len(entries):,} patterns"))
    wild = [key for key, _ in entries if not _tame(key)]
    regular = [key for key, _ in entries if not PLAIN.fullmatch(key)]
    if wild or len(regular) > MOST_PATTERNS:
        raise AdapterError(KIND.format(name=name, what=f"the pattern {quoted((wild or regular)[0], 60)}"))
    for key in regular:
        re.compile(key)
    return entries


def _tame(pattern: str) -> bool:
    repeats, choices = sum(pattern.count(sign) for sign in "*+?"), pattern.count("|")
    short = len(pattern) <= MOST_LENGTH and repeats <= 2 and choices <= 12
    return short and NAME_LENGTH**repeats * 2**choices <= MOST_WAYS and not WILD.search(pattern)


def _matched(patterns: Mapping[str, float], module: str, other: float) -> float:
    """What a pattern says of a module's name, or of its end behind a dot, as peft matches them."""
    parts = module.split(".")
    ends = {len(end): end for end in (".".join(parts[first:]) for first in range(len(parts)))}
    return next((value for key, value in patterns.items() if _says(key, ends)), other)


def _says(pattern: str, ends: Mapping[int, str]) -> bool:
    """Whether a pattern matches one of the ends, which stand by their lengths: a plain name has one, in which a dot is
    any sign. Names are compared by hand: thousands are compiled anew for each module."""
    if PLAIN.fullmatch(pattern):
        end = ends.get(len(pattern))
        return end is not None and all(ours in (".", its) for ours, its in zip(pattern, end, strict=True))
    return any(re.fullmatch(pattern, end) is not None for end in ends.values())
