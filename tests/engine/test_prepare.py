"""What makes later steps faster is done between steps, a moment each time, and never before an answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch import Tensor

from ovis_app.engine import open_engine
from ovis_app.engine.attention.torch_attention import AttentionBatch
from ovis_app.engine.decode_step import DecodeStep
from ovis_app.engine.engine import Engine
from ovis_app.engine.memory_plan import MemoryPlan
from ovis_app.generation import GenerationSettings
from tests.engine.prompts import ENDING, tiny

PIECES = 3
happened: list[str] = []


class Preparing(DecodeStep):
    """A step that gets ready in pieces."""

    def __call__(self, tokens: Tensor, positions: Tensor, batch: AttentionBatch) -> Tensor:
        happened.append("step")
        return super().__call__(tokens, positions, batch)

    def prepare(self) -> Iterator[None]:
        for _ in range(PIECES):
            happened.append("piece")
            yield


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(open_engine, "DecodeStep", Preparing)
    happened.clear()
    plan = MemoryPlan(weights=0, working=0, kv=1 << 20, token=512, prefix_cache=0)
    made = open_engine.open_engine(tiny("ovis2.5").model, ENDING, plan=plan, context=400)
    yield made
    made.close()


def test_pieces_come_between_the_first_steps(engine: Engine) -> None:
    prompt = tiny("ovis2.5").written([("Hello!", ())])
    engine.generate(prompt, GenerationSettings(max_new_tokens=6))
    # The first token comes with the prompt; no two pieces stand between two tokens.
    assert happened == ["piece", "step", "piece", "step", "piece", "step", "step", "step"]


def test_an_idle_engine_gets_ready(engine: Engine) -> None:
    assert [engine.step() for _ in range(PIECES + 2)] == [True] * PIECES + [False] * 2
    assert happened == ["piece"] * PIECES
