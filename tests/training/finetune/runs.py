"""Fine-tunings of tiny checkpoints, in this process, and what they leave behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ovis_app.cli import finetune
from ovis_app.training.finetune.train import train
from tests.adapters import checkpoint
from tests.training.finetune.made import entry, gpt, human, picture, written

COLORS = ("red", "green", "blue", "yellow")


def samples(folder: Path, number: int = 8) -> Path:
    """Samples of pictures, of text alone and of two turns."""
    for color in COLORS:
        picture(folder / f"{color}.png", (40, 40), color)
    said: list[Any] = []
    for place in range(number):
        color = COLORS[place % len(COLORS)]
        said.append(entry("<image>\nWhat color?", f"It is {color}.", id=f"p{place}", image=f"{color}.png"))
    said[1] = {"id": "talk", "conversations": [human("Hi"), gpt("Hello."), human("Who are you?"), gpt("A zib.")]}
    said[2] = entry("Say zib.", "zib", id="text")
    return written(folder / "data.json", said)


def words(folder: Path, *more: str, family: str = "ovis2.5", out: str = "out") -> list[str]:
    """Two epochs of four steps of small pictures, where nothing else is said."""
    sizes = ("--min-pixels", "3136", "--max-pixels", "3136") if family == "ovis2.5" else ()
    return [
        str(folder / "data.json"), "--out", str(folder / out), "--model", str(checkpoint(family)), "--device", "cpu",
        "--dtype", "float32", "--epochs", "2", "--batch", "2", "--accumulate", "1", "--lr", "1e-3", "--val", "0",
        *sizes, *more,
    ]  # fmt: skip


def run(given: Sequence[str]) -> int:
    return finetune.run(given, train)


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def losses(out: Path) -> list[tuple[int, float]]:
    return [(record["step"], record["loss"]) for record in log(out) if "loss" in record]


def copy(model: Path, to: Path) -> Path:
    """A checkpoint of one's own, to change."""
    shutil.copytree(model, to)
    return to
