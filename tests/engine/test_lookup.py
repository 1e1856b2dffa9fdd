"""Lookup decoding gives the tokens that come without it, reads several at once where text repeats, and keeps silent
where it doesn't pay."""

from __future__ import annotations

import random
from collections.abc import Sequence as SequenceOf
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ovis_app.engine.engine import Engine
from ovis_app.engine.lookup import MOST, FormerAnswers, Lookup
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.engine.scheduler import Chunk
from ovis_app.engine.sequence import Sequence
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.generation import GenerationSettings
from tests.engine.engines import engine_over
from tests.engine.prompts import ENDING, Written, tiny

FAMILIES = ["ovis2.5", "ovis2", "ovis1.6", "llama"]


def of(*ids: int) -> Sequence:
    return Sequence(ids, ids)


def test_a_guess_is_what_followed_the_last_tokens_before() -> None:
    assert Lookup(of(1, 2, 3, 4, 5, 1, 2, 3)).guess(8) == [4, 5, 1, 2]
    assert Lookup(of(1, 2, 3, 4, 5, 1, 2, 3)).guess(2) == [4, 5]
    assert Lookup(of(1, 2, 3, 4)).guess(8) == []
    assert Lookup(of(1, 2)).guess(8) == []


def test_the_latest_place_counts_and_the_sequences_own_before_a_former_answer() -> None:
    assert Lookup(of(1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3)).guess(1) == [8]
    assert Lookup(of(0, 1, 2, 3), [[1, 2, 3, 9, 9]]).guess(8) == [9, 9]


def test_no_picture_is_guessed() -> None:
    assert Lookup(of(1, 2, 3, 4, -300, -300, 1, 2, 3)).guess(8) == [4]


def test_guesses_grow_where_they_come_true_and_stop_where_they_do_not() -> None:
    sequence = of(*range(10, 60), *range(10, 13))
    lookup = Lookup(sequence)
    first = lookup.guess(99)
    lookup.judge(len(first), len(first))
    assert len(first) < len(lookup.guess(99)) <= MOST
    for _ in range(8):
        lookup.judge(4, 0)
    assert lookup.guess(99) == []
    for token in range(13, 55):  # it tries again later
        sequence.append(token)
    assert lookup.guess(99)


@examples(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 9))
def test_a_guess_always_stands_behind_the_same_tokens(ids: list[int], most: int) -> None:
    guess = Lookup(of(*ids)).guess(most)
    assert len(guess) <= most
    if guess:
        both = [*ids[-3:], *guess]
        assert any(ids[place : place + len(both)] == both for place in range(len(ids) - 3))


def test_answers_of_other_conversations_are_no_reference() -> None:
    former = FormerAnswers()
    asked = Sequence(range(64), range(64))
    asked.append(7)
    former.keep(asked, 16)
    again, edited = Sequence(range(64), range(64)), Sequence([*range(40), *[5] * 30], [*range(40), *[5] * 30])
    other = Sequence([*range(16), *[9] * 60], [*range(16), *[9] * 60])
    assert former.references(again, 16) == former.references(edited, 16) == [[61, 62, 63, 7]]
    assert former.references(other, 16) == []


class Rows:
    """Counts the steps of an engine, and the drafts in them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.steps = self.drafts = 0
        whole, rows = ModelRunner.run, self

        def run(runner: ModelRunner, chunks: SequenceOf[Chunk]) -> object:
            rows.steps += 1
            rows.drafts += sum(len(chunk.drafts) for chunk in chunks)
            return whole(runner, chunks)

        patch.setattr(ModelRunner, "run", run)


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_those_that_come_without_it(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedy, drawn, penalised and with a budget; one by one, together, and again."""
    small, rng = tiny(family), random.Random(5)
    asked: list[tuple[Written, GenerationSettings, ThinkingBudget | None]] = []
    for kind in ("greedy", "drawn", "penalised", "budget", "greedy", "budget and drawn"):
        settings = GenerationSettings(max_new_tokens=rng.choice((8, 40)))
        if "drawn" in kind:
            settings = replace(settings, temperature=1.2, top_k=20, top_p=0.9, seed=rng.randrange(99))
        if kind == "penalised":
            settings = replace(settings, repetition_penalty=1.2)
        budget = ThinkingBudget(budget=6, early_stop=[5, 6, 7], think_end=9) if "budget" in kind else None
        asked.append((small.written(small.random_turns(rng)), settings, budget))

    def all_answers(engine: Engine) -> list[list[int]]:
        one_by_one = [engine.generate(prompt, how, budget=budget) for prompt, how, budget in asked]
        together = [engine.add(prompt, how, budget=budget) for prompt, how, budget in asked]
        engine.run()
        return [ids.tolist() for ids in (*one_by_one, *(answer.wait() for answer in together))]

    with engine_over(small.model, blocks=200) as engine:
        engine.lookup = False
        wanted = all_answers(engine)
    rows = Rows(monkeypatch)
    with engine_over(small.model, blocks=200) as engine:
        assert all_answers(engine) == wanted
        assert rows.drafts > 0
        assert engine.blocks.held == 0


@pytest.mark.parametrize("stopped", [0, 20])
def test_the_same_question_again_takes_a_third_of_the_steps(monkeypatch: pytest.MonkeyPatch, stopped: int) -> None:
    """Whoever left before the first token meanwhile."""
    small, settings = tiny("ovis2.5"), GenerationSettings(max_new_tokens=60)
    prompt = small.written([("Tell me everything.", ())])
    rows = Rows(monkeypatch)
    with engine_over(small.model, ENDING) as engine:
        first = engine.generate(prompt, settings)
        assert len(first) == 60
        for _ in range(stopped):
            engine.generate(prompt, settings, stop=lambda: True)
        before, rows.steps = rows.steps, 0
        assert engine.generate(prompt, settings).tolist() == first.tolist()
    assert rows.steps * 3 <= before
