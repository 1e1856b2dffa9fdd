"""Reads fixture directories of recorded golden cases: what the original implementation computed on tiny checkpoints.

Directories come from tests/fixtures/golden and from OVIS_GOLDEN (paths separated by ":").
Each has its checkpoint and pictures; public-bilinear differs in preprocessor_config.json alone and links to public-a's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BUNDLED = Path(__file__).parent / "fixtures" / "golden"


@dataclass(frozen=True)
class Case:
    folder: Path
    name: str

    @cached_property
    def data(self) -> dict[str, Any]:
        return next(case for case in read_cases(self.folder)["cases"] if case["name"] == self.name)

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / self.data["npz"]) as file:
            return dict(file)

    def image(self, name: str) -> Image.Image:
        with Image.open(self.folder / "images" / f"{name}.png") as image:
            image.load()
            return image

    def __str__(self) -> str:
        generation = read_cases(self.folder)["generation"]
        return f"{generation}-{self.folder.name}-{self.name}"


_CACHE: dict[Path, dict[str, Any]] = {}


def read_cases(folder: Path) -> dict[str, Any]:
    if folder not in _CACHE:
        _CACHE[folder] = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    return _CACHE[folder]


def folders() -> list[Path]:
    """Every directory that holds a cases.json, bundled or named in OVIS_GOLDEN (directly or somewhere below)."""
    roots = [BUNDLED, *(Path(p) for p in os.environ.get("OVIS_GOLDEN", "").split(":") if p)]
    found: dict[Path, None] = {}
    for root in roots:
        for file in sorted(root.rglob("cases.json")):
            found.setdefault(file.parent.resolve())
    return list(found)


def cases(*kinds: str, folder: Path | None = None) -> Iterator[Case]:
    for place in [folder] if folder else folders():
        yield from (Case(place, case["name"]) for case in read_cases(place)["cases"] if case["kind"] in kinds)
