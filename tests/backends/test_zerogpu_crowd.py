"""Many at once on a Space with ZeroGPU, whose answers are made in forked processes: each gets its own, whoever leaves
ends theirs, and what fails there is a sentence here."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ovis_app.backends.zerogpu import ZeroGpuBackend
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.errors import FAILED
from ovis_app.generation import Answer
from ovis_app.models.ovis import Ovis
from ovis_app.settings import Settings
from tests.backends.test_zerogpu import LONG, answer, ask, backend, ended, long_answers, picture
from tests.stand_ins import spaces
from tests.ui.serving import served
from tests.ui.ways_in import by_page, by_v1, end, held_open
from tests.waiting import until

__all__ = ["backend", "long_answers"]  # fixtures
AT_ONCE, WAITING = 3, 3
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="ZeroGPU forks")


def test_each_of_several_at_once_gets_the_answer_that_is_given_alone(
    backend: ZeroGpuBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend._time, "seconds", lambda _: 60)  # whatever else this machine does meanwhile
    asked = [ask(f"What is it, {number}?", *[picture(tmp_path, "red")] * (number % 2)) for number in range(4)]
    alone = [answer(backend, one) for one in asked]
    assert len({one.text for one in alone}) > 1
    with ThreadPoolExecutor(4) as crowd:
        together = list(crowd.map(lambda one: answer(backend, one), asked * 2))
    assert [(one.error, one.text) for one in together] == [("", one.text) for one in alone * 2]


def test_many_who_leave_at_once_leave_no_process_and_no_thread(backend: ZeroGpuBackend, long_answers: None) -> None:
    """Half of them before anything was said, while the prompt is read."""
    before, threads = len(spaces.workers), threading.active_count()

    def come_and_go(number: int) -> None:
        with closing(backend.stream(ask("go on", settings=LONG))) as events:
            for event in events:
                if number % 2 or isinstance(event, Answer):
                    return

    with ThreadPoolExecutor(8) as crowd:
        list(crowd.map(come_and_go, range(16)))
    until(lambda: backend.status().phase == "ready")
    ended(*spaces.workers[before:])
    assert all(came < 100 for came in spaces.yields[before:]), "one made all of the 400 tokens"
    until(lambda: threading.active_count() <= threads)


@pytest.mark.parametrize(
    ("owner", "name", "at"),
    [(ModelRunner, "run", 1), (ModelRunner, "run", 4), (Ovis, "encode_many", 1)],
    ids=["first token", "midway", "tower"],
)
def test_whatever_fails_there_is_a_sentence_here_and_the_next_question_is_answered(
    backend: ZeroGpuBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, at: int
) -> None:
    whole: Callable[..., Any] = getattr(owner, name)
    calls = list[int]()  # of the process that was forked, which begins with none

    def broken(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) >= at:
            raise RuntimeError("secret /path/to/weights")
        return whole(*arguments, **options)

    asked = ask("What is it?", picture(tmp_path, "red"))
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken)
        assert answer(backend, asked).error == FAILED
    assert answer(backend, asked).error == ""


def test_twenty_questions_that_nobody_waits_for_end_and_never_run_at_once(
    backend: ZeroGpuBackend, long_answers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of them of the page, half of programs, whose connections stay open and unread."""
    monkeypatch.setattr(backend, "_deadline", 2)
    monkeypatch.setattr(backend._time, "seconds", lambda _: 40)
    monkeypatch.setattr(Settings, "at_once", AT_ONCE)  # a Space has eight, each with a GPU of its own
    before, most = len(spaces.workers), list[int]()

    def over() -> bool:
        workers = spaces.workers[before:]
        most.append(sum(worker.exitcode is None for worker in workers))
        return len(workers) >= AT_ONCE + WAITING and not most[-1] and backend.status().phase == "ready"

    with served(backend, queue_size=WAITING) as server:
        asked = [held_open(server, (by_page, by_v1)[number % 2], "Go on", max_tokens=4000) for number in range(20)]
        until(over, "not all that were taken came to an end")
        more = sum(one > AT_ONCE for one in most)  # a process that has answered takes a moment to go
        assert max(most) > 0 and more < len(most) / 10
        ended(*spaces.workers[before:])
        for one in asked:
            one.close()
        monkeypatch.undo()
        assert end(by_page(server, "And now?", max_tokens=2))[0] == "done"
