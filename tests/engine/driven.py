"""Engines over tiny models whose every size a test chooses, and readers that leave. The caller drives them.

Knows the parts of an engine and how they go together; refuses to know what tests expect of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ovis_app.engine.answer import RunningAnswer
from ovis_app.engine.decode_step import DecodeStep, unfit
from ovis_app.engine.engine import Engine
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.engine.pace import Pace
from ovis_app.engine.scheduler import Chunk
from ovis_app.errors import BackendError
from ovis_app.generation import GenerationSettings
from tests.engine.engines import engine_made
from tests.engine.prompts import Written, tiny

FAMILIES = ["ovis2.6", "ovis2.5", "ovis2", "ovis1.6", "llama"]
CONTEXT = 2048
SHORT = GenerationSettings(max_new_tokens=12)
LONG = GenerationSettings(max_new_tokens=600)
LOREM = "One two three four five six seven."


class Chunked(Pace):
    """As many tokens of prompts a step as a test wants, whatever the time; fewer once memory runs out."""

    def __init__(self, tokens: int) -> None:
        super().__init__(seconds=1.0, alone_seconds=1.0, most=tokens)

    def tokens(self, *, decoding: bool) -> int:
        return self.most


class Watched(ModelRunner):
    """Writes down what it computes: for each step, the rows of each sequence's chunk."""

    steps: list[list[int]]

    def run(self, chunks: Sequence[Chunk]) -> Tensor | None:
        self.steps.append([chunk.rows for chunk in chunks])
        return super().run(chunks)

    @property
    def rows(self) -> int:
        return sum(map(sum, self.steps))


@cache
def step_by_hand(family: str) -> DecodeStep | None:
    """One for each model and process: a second one would take its weights from under the first."""
    llm = tiny(family).model.llm
    return None if unfit(llm) else DecodeStep(llm, context=CONTEXT)


def engine(
    family: str = "ovis2.5", *, chunk: int | None = None, by_hand: bool = True, runner: type[ModelRunner] = Watched,
    most_running: int = 64, lookup: bool = False, **sizes: Any,
) -> Engine:  # fmt: skip
    """An engine that isn't started, of such `sizes`. `chunk` tokens of prompts a step; None leaves that to the time
    that steps take."""
    step = step_by_hand(family)
    found = engine_made(
        tiny(family).model, by_hand=by_hand and step is not None, step=step, runner=runner,
        most_running=most_running, lookup=lookup, **{"context": CONTEXT, **sizes},
    )  # fmt: skip
    if isinstance(found.runner, Watched):
        found.runner.steps = []
    if chunk is not None:
        found.pace = Chunked(chunk)
    return found


def text(words: str = LOREM, family: str = "ovis2.5") -> Written:
    return tiny(family).written([(words, ())])


class Reader:
    """A streamer that counts what it hears, and a stop that comes true once that is `leaves` tokens."""

    def __init__(self, leaves: int | None = None) -> None:
        self.leaves, self.heard, self.ended = leaves, list[int](), False

    def put(self, value: Tensor) -> None:
        self.heard += value.tolist()

    def end(self) -> None:
        self.ended = True

    def __call__(self) -> bool:
        return self.leaves is not None and len(self.heard) >= self.leaves


def drive(driven: Engine, answers: Sequence[RunningAnswer], *, most_steps: int = 5000) -> None:
    """Steps until all answers are over."""
    for _ in range(most_steps):
        if all(answer.over for answer in answers):
            return
        assert driven.step(), "nothing to do, and somebody waits"
    raise AssertionError("they never ended")


def prompts(count: int) -> list[Written]:
    return [text(f"{number} {LOREM}") for number in range(count)]


def plainly(asked: Sequence[Written], settings: GenerationSettings = SHORT) -> list[list[int]]:
    return [tiny("ovis2.5").plain(written, settings) for written in asked]


def ended(answer: RunningAnswer) -> list[int] | str:
    """An answer's tokens, or the sentence that it ended with."""
    try:
        return answer.wait().tolist()
    except (BackendError, torch.OutOfMemoryError) as error:
        return str(error)


def is_sentence(said: object) -> bool:
    return isinstance(said, str) and said.endswith(".") and "\n" not in said and "odd" not in said
