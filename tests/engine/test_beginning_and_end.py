"""What can never be answered is refused before it is queued; what is under way when an engine ends gets a sentence."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from ovis_app.engine.scheduler import Chunk
from ovis_app.errors import BackendError
from ovis_app.generation import GenerationSettings
from tests.engine.driven import (
    LONG,
    SHORT,
    Reader,
    Watched,
    ended,
    engine,
    is_sentence,
    plainly,
    prompts,
    text,
)
from tests.waiting import PATIENCE, until


@pytest.mark.parametrize(("blocks", "context"), [(4, 2048), (256, 64)])
def test_what_can_never_fit_is_refused_before_it_is_queued(blocks: int, context: int) -> None:
    driven, tokens = engine(blocks=blocks, context=context), len(text().ids)
    with pytest.raises(BackendError, match=r"may take 65 tokens and there is memory for 64: lower max new tokens"):
        driven.add(text(), replace(SHORT, max_new_tokens=65 - tokens))
    assert not driven.step() and driven.scheduler.idle
    fitting = replace(SHORT, max_new_tokens=64 - tokens)
    assert len(driven.generate(text(), fitting)) == 64 - tokens


@pytest.mark.parametrize(
    "bad", [{"temperature": float("nan")}, {"top_p": "0.5"}, {"seed": -1}, {"top_k": True}, {"max_new_tokens": 0}]
)
def test_settings_out_of_range_are_refused_by_the_engine_itself(bad: dict[str, Any]) -> None:
    driven = engine()
    with pytest.raises(BackendError, match=f"^{next(iter(bad))} must be"):
        driven.add(text(), GenerationSettings(**bad))
    assert not driven.step()


def test_closing_ends_what_is_under_way_and_what_waits_with_a_sentence() -> None:
    driven = engine(most_running=1)
    driven.start()
    reader = Reader()
    with ThreadPoolExecutor(2) as threads:
        under_way = threads.submit(driven.generate, text(), replace(LONG, max_new_tokens=1900), streamer=reader)
        until(lambda: reader.heard)
        waiting = driven.add(text("Wait."), SHORT)
        driven.close()
        assert "shut down" in str(under_way.exception(PATIENCE)) and "shut down" in str(ended(waiting))
    with pytest.raises(BackendError, match="shut down"):
        driven.add(text(), SHORT)


def test_closing_one_that_nobody_started_ends_what_was_asked() -> None:
    driven = engine()
    answer = driven.add(text(), LONG)
    driven.step()
    driven.close()
    assert "shut down" in str(ended(answer)) and driven.blocks.held == 0


def test_a_failure_of_the_engine_itself_ends_those_under_way_and_the_next_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = plainly(prompts(1))
    driven, failed = engine(), threading.Event()
    whole = driven.scheduler.schedule

    def schedule(tokens: int) -> list[Chunk]:
        if not failed.is_set():
            failed.set()
            raise AssertionError("odd")
        return whole(tokens)

    monkeypatch.setattr(driven.scheduler, "schedule", schedule)
    driven.start()
    try:
        assert is_sentence(ended(driven.add(text(), SHORT)))
        assert driven.generate(prompts(1)[0], SHORT).tolist() == expected[0]
    finally:
        driven.close()


def test_who_drives_an_engine_has_the_answer_before_it_is_prepared_for_faster_steps() -> None:
    """On a GPU that takes 15 seconds."""
    driven, left = engine(), list(range(10_000))

    class Slow(Watched):
        def prepare(self) -> bool:
            left.pop()
            return True

    driven.runner.__class__ = Slow
    assert driven.generate(prompts(1)[0], SHORT).tolist() == plainly(prompts(1))[0]
    assert len(left) > 9_000


def test_an_answer_that_can_not_be_put_away_ends_all_the_same_and_the_next_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = plainly(prompts(1))
    driven, odd = engine(), list[Any]()
    whole = driven.blocks.remember

    def remember(sequence: Any) -> None:
        if not odd:
            odd.append(sequence)
        if sequence is odd[0]:
            raise AssertionError("odd")
        whole(sequence)

    monkeypatch.setattr(driven.blocks, "remember", remember)
    driven.start()
    try:
        failing = driven.add(text(), SHORT)
        until(lambda: failing.over)
        assert is_sentence(ended(failing))
        answer = driven.add(prompts(1)[0], SHORT)
        until(lambda: answer.over)
        assert ended(answer) == expected[0]
    finally:
        driven.close()
