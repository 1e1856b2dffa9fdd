"""A batched engine over a tiny model, readers that leave, and mixed loads, for tests of many requests at once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from ovis_app.engine.batched import BatchedEngine
from ovis_app.engine.pages import Sizes
from ovis_app.generation import GenerationSettings
from tests.engine.prompts import ENDING, Written, tiny

FAMILIES = ["ovis2.5", "ovis2", "llama"]
SMALL = Sizes(page=8, pages=128, step=64, requests=8, slots=400)
SHORT = GenerationSettings(max_new_tokens=12)
LONG = GenerationSettings(max_new_tokens=600)
LOREM = "One two three four five six seven."


@contextmanager
def engine(family: str = "ovis2.5", sizes: Sizes = SMALL) -> Iterator[BatchedEngine]:
    made = BatchedEngine(tiny(family).model, ENDING, sizes)
    try:
        yield made
    finally:
        made.close()


def text(words: str = LOREM, family: str = "ovis2.5") -> Written:
    return tiny(family).written([(words, ())])


class After:
    """A stop that comes true once it has been put that many tokens; also the streamer that counts them."""

    def __init__(self, tokens: int) -> None:
        self.tokens, self.put_so_far, self.ended = tokens, 0, False

    def put(self, value: torch.Tensor) -> None:
        self.put_so_far += len(value)

    def end(self) -> None:
        self.ended = True

    def __call__(self) -> bool:
        return self.put_so_far >= self.tokens


def random_load(family: str, rng: random.Random, count: int) -> list[tuple[Written, GenerationSettings, int | None]]:
    """Prompts, how to answer them, and after how many tokens their reader leaves (None: stays)."""
    load = []
    for _ in range(count):
        settings = replace(SHORT, max_new_tokens=rng.choice((1, 5, 12, 40)))
        leaves = rng.randrange(settings.max_new_tokens) if rng.random() < 0.25 else None
        load.append((tiny(family).written(tiny(family).random_turns(rng)), settings, leaves))
    return load
