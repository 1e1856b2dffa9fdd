"""How a model is fine-tuned: every flag's value, what follows from the method and the model where none was given.

Knows numbers and their bounds. Refuses to know data and files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ovis_app.errors import DataError
from ovis_app.models.devices import SMALL
from ovis_app.zoo import ModelSpec

Method = Literal["lora", "full"]
PARTS = ("llm", "tower", "head", "vte")  # that can learn: the language model, the tower, its head, the visual table
ALL = "all"
MAX_TOKENS = {"ovis1_6": 3072}  # of a sample, by family
OTHER_TOKENS = 4096
MOST_TURNS = 16


@dataclass(frozen=True)
class Choices:
    """What was chosen. `parts` are what learns, each with its learning rate."""

    method: Method
    parts: tuple[tuple[str, float], ...]
    rank: int
    alpha: int
    dropout: float
    epochs: float
    batch: int
    accumulate: int
    max_tokens: int
    val: float
    checkpointing: bool
    seed: int
    save_every: int  # steps; 0: at the end of each epoch
    merge: bool = False

    @property
    def part_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.parts)

    @property
    def turns(self) -> int:
        """Epochs that get old samples of their own; those behind them have the same again."""
        return min(math.ceil(self.epochs), MOST_TURNS)

    def steps(self, samples: int) -> int:
        """Of the optimizer, for so many samples to learn from."""
        an_epoch = math.ceil(math.ceil(samples / self.batch) / self.accumulate)
        return max(math.ceil(an_epoch * self.epochs), 1)

    def facts(self) -> dict[str, Any]:
        """As JSON, but for what changes nothing of what is learnt."""
        kept = asdict(self)
        del kept["save_every"], kept["merge"], kept["checkpointing"]
        return {**kept, "parts": [list(part) for part in self.parts]}


def defaults(spec: ModelSpec, method: Method) -> dict[str, Any]:
    """What is chosen where a flag says nothing."""
    small = 0 < spec.parameters < SMALL
    lora = method == "lora"
    return {
        "train": ALL if small and lora else "llm",
        "lr": (1e-3 if small else 1e-4) if lora else 1e-5,
        "rank": 16,
        "alpha": 32,
        "dropout": 0.0 if small else 0.05,  # a fifth of a small model's time, for nothing that shows
        "epochs": (14.0 if small else 3.0) if lora else 1.0,
        "batch": 4 if small else 1,
        "accumulate": 1 if small else 16,
        "max_tokens": min(MAX_TOKENS.get(spec.family, OTHER_TOKENS), spec.context),
        "val": 0.05,
        "checkpointing": not small,
        "seed": 0,
        "save_every": 0,
        "merge": False,
    }


def choices_of(spec: ModelSpec, method: Method, given: Mapping[str, Any]) -> Choices:
    """The choices for what was given, completed by the defaults. Raises DataError, which names the flag."""
    values = defaults(spec, method) | {name: value for name, value in given.items() if value is not None}
    for name, least in {"rank": 1, "alpha": 1, "batch": 1, "accumulate": 1, "max_tokens": 16, "save_every": 0,
                        "seed": 0}.items():  # fmt: skip
        if values[name] < least:
            raise DataError(f"--{name.replace('_', '-')} must be a whole number from {least} on.")
    for name, below in {"lr": 1.0, "epochs": 10_000.0}.items():
        if not 0 < values[name] <= below:
            raise DataError(f"--{name} must be a number above 0 and at most {below:g}.")
    for name in ("dropout", "val"):
        if not 0 <= values[name] < 1:
            raise DataError(f"--{name} must be a number from 0 to below 1.")
    values["max_tokens"] = min(values["max_tokens"], spec.context)
    parts = parts_of(values.pop("train"), values.pop("lr"))
    return Choices(method=method, parts=parts, **values)


def parts_of(text: str, lr: float) -> tuple[tuple[str, float], ...]:
    """What learns, from `llm,tower:1e-5`: names with commas or | between them, each with a learning rate if it has one
    of its own. Raises DataError."""
    found: dict[str, float] = {}
    for piece in filter(None, map(str.strip, re.split(r"[,|]", text))):
        name, _, own = piece.partition(":")
        if name == "experts":
            raise DataError(
                "--train experts can't be: an adapter is for linear layers, and experts are none. Name llm: what "
                "stands around them, their attention, learns."
            )
        if name not in (*PARTS, ALL):
            raise DataError(f"--train knows {', '.join(PARTS)} and {ALL}, not {name!r}: name some of these.")
        try:
            rate = float(own) if own else lr
        except ValueError:
            rate = -1
        if not 0 < rate <= 1:
            raise DataError(f"--train {piece}: a learning rate is a number above 0 and at most 1, as llm:1e-4.")
        found |= dict.fromkeys(PARTS if name == ALL else (name,), rate)
    if not found:
        raise DataError(f"--train names nothing: name some of {', '.join(PARTS)}, or {ALL}.")
    return tuple((name, found[name]) for name in PARTS if name in found)


def mistakes(spec: ModelSpec, method: Method, quantize: str, given: Sequence[str]) -> str:
    """Why these don't go together, in a sentence; empty where they do. `given` are names of flags that were given."""
    if spec.quantization:
        return f"{spec.name} has weights of fewer bits ({spec.quantization}), which can't learn: name the whole model."
    if spec.llm is not None and spec.llm.active and (method == "full" or quantize != "none"):
        what = "--method full" if method == "full" else f"--quantize {quantize}"
        return f"{what} isn't for {spec.name}, whose experts neither learn nor are quantized here: leave it out."
    if quantize not in ("none", "int4"):
        return f"--quantize {quantize} can't learn here: use int4, or leave it out."
    if method == "full" and quantize != "none":
        return "--quantize int4 is for --method lora: weights of 4 bits can't be learnt."
    needless = [name for name in ("rank", "alpha", "dropout") if name in given]
    if method == "full" and needless:
        return f"--{needless[0]} is for --method lora: leave it out."
    return ""
