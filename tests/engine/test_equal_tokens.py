"""Whatever is asked at once, each answer is the one that transformers' `generate` gives alone.

In float32, wherever `generate` is sure of its choice: margins.py. Random loads of pictures, clips and conversations
that go on, drawn, penalised and with budgets, left early, preempted, in chunks and blocks of every size.
"""

from __future__ import annotations

import copy
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ovis_app.engine.answer import RunningAnswer
from ovis_app.engine.engine import Engine
from ovis_app.generation import GenerationSettings
from tests.engine.driven import FAMILIES, Reader, drive, engine, step_by_hand
from tests.engine.engines import engine_over
from tests.engine.loads import Ask, random_load
from tests.engine.margins import Tally, asked_plainly
from tests.engine.prompts import Tiny, tiny
from tests.waiting import PATIENCE


def compared(driven: Engine, load: list[Ask], tally: Tally) -> None:
    """Asks a load of an engine, each request at its step, and compares the answers."""
    asked: dict[int, tuple[RunningAnswer, Reader]] = {}
    step = 0
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
        as_expected(answer.wait().tolist(), reader, ask, tally)
    assert driven.blocks.held == 0 and driven.scheduler.idle


def as_expected(ids: list[int], reader: Reader, ask: Ask, tally: Tally) -> None:
    assert reader.heard == ids and reader.ended
    tally.compare(ids, ask.expected, whole=ask.leaves is None)
    assert len(ids) >= min(ask.leaves or 0, len(ask.expected.ids))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "modules"])
def test_any_load_is_answered_as_generate_answers_each(family: str, by_hand: bool) -> None:
    if by_hand and step_by_hand(family) is None:
        pytest.skip("its tokens always go through its modules")
    tally, preemptions = Tally(), []

    @settings(max_examples=7, phases=[Phase.generate], deadline=None, derandomize=True, database=None)
    @given(
        seed=st.integers(0, 2**20),
        chunk=st.sampled_from([1, 7, 64]),
        block_size=st.sampled_from([1, 4, 16]),
        spare=st.sampled_from([0, 2, 60]),
        most_cached=st.sampled_from([None, None, 0]),
        lookup=st.booleans(),
    )
    def any_load(
        seed: int, chunk: int, block_size: int, spare: int, most_cached: int | None, lookup: bool
    ) -> None:  # fmt: skip
        load = random_load(family, seed, 1 if chunk == 1 else 5)
        blocks = -(-max(ask.tokens for ask in load) // block_size) + spare
        driven = engine(
            family, blocks=blocks, block_size=block_size, chunk=chunk, by_hand=by_hand, most_cached=most_cached,
            lookup=lookup,
        )  # fmt: skip
        compared(driven, load, tally)
        preemptions.append(driven.scheduler.preemptions)

    any_load()
    print(f"\n{family}: {tally}; {sum(preemptions)} preemptions in {len(preemptions)} loads")
    assert tally.share < 0.01


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("block_size", [1, 16])
def test_preempted_answers_are_the_same(family: str, block_size: int) -> None:
    """Four at once, in a pool that two of their prompts fill."""
    small, settings = tiny(family), GenerationSettings(max_new_tokens=24)
    prompts = [small.written([(f"What is {number}?", (("image", number),))]) for number in range(4)]
    expected = [asked_plainly(small, written, settings) for written in prompts]
    blocks = 2 * -(-max(len(written.ids) for written in prompts) // block_size) + 1
    driven, tally = engine(family, blocks=blocks, block_size=block_size, chunk=64), Tally()
    answers = [driven.add(written, settings) for written in prompts]
    drive(driven, answers)
    for answer, wanted in zip(answers, expected, strict=True):
        tally.compare(answer.wait().tolist(), wanted)
    assert driven.scheduler.preemptions > 0 and tally.left_out == 0


@pytest.mark.parametrize("family", ["ovis2.5", "ovis1.6"])
def test_answers_from_the_engines_own_thread_are_the_same(family: str) -> None:
    """Requests come from threads of their own, as they do in the app."""
    load = random_load(family, 8, 8)
    driven, tally = engine(family, blocks=64, lookup=True), Tally()

    def ask(one: Ask) -> None:
        reader = Reader(one.leaves)
        ids = driven.generate(one.written, one.settings, budget=one.budget, streamer=reader, stop=reader)
        as_expected(ids.tolist(), reader, one, tally)

    driven.start()
    try:
        with ThreadPoolExecutor(len(load)) as threads:
            for asked in [threads.submit(ask, one) for one in [*load, *load]]:
                asked.result(PATIENCE)
    finally:
        driven.close()
    assert driven.blocks.held == 0 and tally.share < 0.01


def test_half_precision_gives_mostly_the_same_tokens() -> None:
    """In bfloat16 scores tie often, so that the share is told and not required to be large; the lengths are right."""
    small = tiny("ovis2.5")
    half = Tiny(copy.deepcopy(small.model).to(torch.bfloat16), small.prompts)
    rng = random.Random(4)
    prompts = [small.written(small.random_turns(rng)) for _ in range(8)]
    settings = GenerationSettings(max_new_tokens=12)
    expected = [half.plain(written, settings) for written in prompts]
    with engine_over(half.model) as driven:
        asked = [driven.add(written, settings) for written in prompts]
        driven.run()
        answers = [answer.wait().tolist() for answer in asked]
    same = sum(one == other for pair in zip(answers, expected, strict=True) for one, other in zip(*pair, strict=True))
    print(f"\nbfloat16: {same} of {sum(map(len, expected))} tokens are the same")
    assert same > 0
