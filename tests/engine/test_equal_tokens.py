"""Whatever is asked at once, each answer is the one that transformers' `generate` gives alone.

In float32, wherever `generate` is sure of its choice: margins.py. Random loads of pictures, clips and conversations that
go on, drawn, penalised and with budgets, left early, preempted, in chunks and blocks of every size.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovis_app.engine.block_manager import BlockManager
from ovis_app.engine.engine import Engine
from ovis_app.engine.kv_pool import KVPool
from ovis_app.engine.model_runner import ModelRunner
from tests.engine.driven import FAMILIES, Reader, engine, step_by_hand
from tests.engine.loads import Ask, random_load
from tests.engine.margins import Tally
from tests.engine.prompts import ENDING, Tiny, tiny
from tests.waiting import PATIENCE

SEEDS = st.integers(0, 2**20)


@pytest.fixture(scope="module", autouse=True)
def preempted() -> Iterator[list[int]]:
    """How often each load's sequences were preempted."""
    found: list[int] = []
    yield found
    print(f"\n{len(found)} loads, {sum(found)} preemptions")


def compared(driven: Engine, load: list[Ask], tally: Tally) -> None:
    """Asks a load of an engine, each request at its step, and compares the answers."""
    asked, step = {}, 0
    while len(asked) < len(load) or not all(answer.over for answer, _ in asked.values()):
        for number, ask in enumerate(load):
            if number not in asked and ask.begin <= step:
                reader = Reader(ask.leaves)
                answer = driven.add(ask.written, ask.settings, budget=ask.budget, streamer=reader, stop=reader)
                asked[number] = answer, reader
        driven.step()
        step += 1
        assert step < 20_000, "they never ended"
    for number, ask in enumerate(load):
        answer, reader = asked[number]
        ids = answer.wait().tolist()
        assert reader.heard == ids and reader.ended
        tally.compare(ids, ask.expected, whole=ask.leaves is None)
        assert len(ids) >= min(ask.leaves or 0, len(ask.expected.ids))
    assert driven.blocks.held == 0 and driven.scheduler.idle


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "modules"])
def test_any_load_is_answered_as_generate_answers_each(family: str, by_hand: bool, preempted: list[int]) -> None:
    if by_hand and step_by_hand(family) is None:
        pytest.skip("its tokens always go through its modules")
    tally = Tally()

    @settings(max_examples=6, deadline=None, derandomize=True, database=None)
    @given(
        seed=SEEDS,
        chunk=st.sampled_from([1, 7, 64]),
        block_size=st.sampled_from([1, 4, 16]),
        spare=st.sampled_from([0, 2, 60]),
        most_cached=st.sampled_from([None, None, 0]),
    )
    def any_load(seed: int, chunk: int, block_size: int, spare: int, most_cached: int | None) -> None:
        load = random_load(family, random.Random(seed), 6)
        blocks = -(-max(ask.tokens for ask in load) // block_size) + spare
        driven = engine(
            family, blocks=blocks, block_size=block_size, chunk=chunk, by_hand=by_hand, most_cached=most_cached
        )
        compared(driven, load, tally)
        preempted.append(driven.scheduler.preemptions)

    any_load()
    print(f"{family}: {tally}")
    assert tally.share < 0.01
