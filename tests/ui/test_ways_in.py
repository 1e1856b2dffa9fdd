"""A real engine behind the page and behind /v1: whoever leaves, whatever fails and however many come, the work ends,
the reason is a sentence, and the next question is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ovis_app.backends.local import one_answer
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.checkpoints import tokenizer
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine.answer import RunningAnswer
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.errors import BUSY, FAILED, TOO_LONG
from ovis_app.limits import Limits
from ovis_app.models.ovis import Ovis
from ovis_app.request_id import REPORT
from ovis_app.settings import Settings
from tests.ui.serving import Served, served
from tests.ui.ways_in import Heard, Way, by_page, by_v1, end, held_open, until_words
from tests.waiting import PATIENCE, ticks_until, until

CHECKPOINT = Path(__file__).parent.parent / "fixtures" / "golden" / "ovis2.5" / "public-a" / "checkpoint"
AT_ONCE, WAITING, MANY = 4, 12, 50
FREED_SECONDS = 2.0  # that a place has to be free in; half a second is what is wanted
ways = pytest.mark.parametrize("way", [by_page, by_v1])


@pytest.fixture(scope="module")
def real() -> Iterator[Served]:
    """Four at once, twelve in the line."""
    backend = LocalBackend(Settings(model=str(CHECKPOINT), device="cpu"), Limits())
    backend.warm()
    until(lambda: backend.status().phase == "ready")
    with served(backend, engine="solo", queue_size=WAITING) as here:
        yield here
    backend.close()


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No answer ends by itself, and a token takes 20 ms; when each came."""
    came, whole = list[float](), RunningAnswer.take

    def slow(self: RunningAnswer, *arguments: Any) -> bool:
        time.sleep(0.02)
        came.append(time.monotonic())
        return whole(self, *arguments)

    monkeypatch.setattr(RunningAnswer, "take", slow)
    monkeypatch.setattr(tokenizer, "ending_of", lambda *_: Ending((703,), 608))
    return came


def idle(server: Served) -> bool:
    """Whether nobody is answered, and nothing of an answer is left."""
    backend = server.backend
    return not backend._worker.busy and not backend._answers.busy and not backend._session.engine.blocks.held


def threads() -> set[threading.Thread]:
    """Those that work; the web server's own wait for a while whether there is more to do."""
    return {one for one in threading.enumerate() if "AnyIO" not in one.name and "asyncio" not in one.name}


def left_after(heard: Heard) -> None:
    """Somebody who leaves as soon as something is said."""
    with closing(heard):
        until_words(heard)


@ways
def test_whoever_leaves_ends_the_answer_within_moments(real: Served, way: Way, endless: list[float]) -> None:
    left_after(way(real, "Go on", max_tokens=4000))
    left = time.monotonic()
    until(lambda: idle(real))
    more = sum(one > left for one in endless)
    print(f"{more} tokens more")
    assert more <= 20, "at 20 ms a token, of 4,000"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event, list[int]]]:
    """No step is computed until the second is set; the first says that one has begun; and how many began."""
    begun, go_on, steps, whole = threading.Event(), threading.Event(), list[int](), ModelRunner.run

    def run(self: ModelRunner, *arguments: Any, **options: Any) -> Any:
        steps.append(1)
        begun.set()
        assert go_on.wait(PATIENCE)
        return whole(self, *arguments, **options)

    monkeypatch.setattr(ModelRunner, "run", run)
    yield begun, go_on, steps
    go_on.set()


@ways
def test_whoever_leaves_while_a_prompt_is_read_gives_the_place_on_and_has_a_token_made_at_most(
    real: Served, way: Way, endless: list[float], held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, steps = held
    open_streams, whole = list[int](), LocalBackend.stream

    def watched(self: LocalBackend, request: Any) -> Any:
        open_streams.append(1)
        try:
            yield from whole(self, request)
        finally:
            open_streams.pop()

    monkeypatch.setattr(LocalBackend, "stream", watched)
    with closing(held_open(real, way, "Go on", max_tokens=4000)):
        assert begun.wait(PATIENCE) and open_streams
    took = ticks_until(lambda: not open_streams, FREED_SECONDS, "its place wasn't free")
    print(f"free after {took:.2f} s")
    go_on.set()
    until(lambda: idle(real))
    assert len(steps) <= 2 and len(endless) <= 1


@ways
def test_fifty_who_leave_at_once_leave_nothing(real: Served, way: Way, endless: list[float]) -> None:
    before = threads()

    def come_and_go(_: int) -> None:
        with closing(held_open(real, way, "Go on", max_tokens=4000)) as connection:
            assert connection.recv(64).startswith(b"HTTP/1.1 200")  # until somebody listens they haven't left

    with ThreadPoolExecutor(10) as crowd:
        list(crowd.map(come_and_go, range(MANY)))
    assert len(endless) > AT_ONCE, "some of them were answered"
    until(lambda: idle(real))
    until(lambda: not {one for one in threads() - before if one.name.startswith("ovis")}, "threads stay")
    until(lambda: len(threads()) <= len(before))


BROKEN = {"first token": (ModelRunner, "run", 1), "midway": (ModelRunner, "run", 4), "tower": (Ovis, "encode_many", 1)}


@ways
@pytest.mark.parametrize("where", BROKEN)
def test_what_fails_is_a_sentence_and_the_next_question_is_answered(
    real: Served, way: Way, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture is new each time: nothing of it is remembered."""
    owner, name, at = BROKEN[where]
    whole, calls = getattr(owner, name), list[int]()

    def broken(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) >= at:
            raise RuntimeError("secret /path/to/weights")
        return whole(*arguments, **options)

    red = tmp_path / "red.png"
    Image.new("RGB", (96, 64 + len(where) + 20 * (way is by_v1)), "red").save(red)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken)
        how, sentence = end(way(real, "What is it?", [red], max_tokens=30))
    assert calls and how == "failed" and sentence == REPORT.format(sentence=FAILED, number=sentence[-9:-1])
    assert end(way(real, "And now?", [red], max_tokens=2))[0] == "done"


@ways
def test_an_answer_that_stalls_ends_at_its_deadline_and_gives_its_place_on(
    real: Served, way: Way, held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, go_on, _ = held
    with monkeypatch.context() as patch:
        patch.setattr(real.backend, "settings", replace(real.backend.settings, deadline=0.3))
        patch.setattr(one_answer, "GRACE_SECONDS", 0.2)
        assert end(way(real, "Go on")) == ("failed", TOO_LONG)
    go_on.set()
    until(lambda: idle(real))
    assert end(way(real, "And now?", max_tokens=2))[0] == "done"


@ways
def test_twenty_questions_that_nobody_waits_for_end_and_never_run_at_once(
    real: Served, way: Way, endless: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real.backend, "settings", replace(real.backend.settings, deadline=0.5))
    running, most, ended, whole = list[int](), list[int](), list[int](), LocalBackend.stream

    def counted(self: LocalBackend, request: Any) -> Any:
        running.append(1)
        most.append(len(running))
        try:
            yield from whole(self, request)
        finally:
            running.pop()
            ended.append(1)

    monkeypatch.setattr(LocalBackend, "stream", counted)
    asked = [held_open(real, way, "Go on", max_tokens=4000) for _ in range(20)]
    until(lambda: AT_ONCE + WAITING <= len(ended) == len(most) and idle(real), "not all that were taken came to an end")
    assert max(most) <= AT_ONCE
    for one in asked:
        one.close()
    monkeypatch.undo()
    assert end(way(real, "And now?", max_tokens=2))[0] == "done"


@pytest.mark.parametrize(("way", "many"), [(by_page, 50), (by_v1, 100)])
def test_of_a_hundred_at_once_as_many_are_taken_as_may_wait_and_the_others_are_told(
    real: Served, way: Way, many: int, held: Any
) -> None:
    """Each of the page is a tab of its own, of which fifty are enough."""
    _, go_on, _ = held
    ends = list[tuple[str, str]]()
    crowd = [threading.Thread(target=lambda: ends.append(end(way(real, "Hi", max_tokens=2)))) for _ in range(many)]
    for one in crowd:
        one.start()
    until(lambda: len(ends) == many - AT_ONCE - WAITING)
    assert set(ends) == {("failed", BUSY)}
    go_on.set()
    for one in crowd:
        one.join(PATIENCE)
    assert [how for how, _ in ends].count("done") == AT_ONCE + WAITING
    assert end(way(real, "And now?", max_tokens=2))[0] == "done"
