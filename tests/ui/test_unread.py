"""Answers that nobody fetches take only so much memory, and nobody else's."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import pytest

from ovis_app.generation import Event, Request
from ovis_app.ui import endpoints, unread
from ovis_app.ui.unread import Sessions, Unread
from tests.ui.serving import HeldBackend, Served, Wire, served
from tests.waiting import until

PIECE = 1_000_000


@pytest.fixture(autouse=True)
def no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests' tabs left doesn't count."""
    monkeypatch.setattr(unread, "_queues", WeakSet())


def message(name: str, size: int = PIECE) -> SimpleNamespace:
    return SimpleNamespace(name=name, output={"data": ["x" * size, [{"value": name}]]})


def test_whoever_left_most_loses_the_oldest_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "MOST", 5 * PIECE)
    greedy, modest = Unread(), Unread()
    modest.put_nowait(message("mine"))
    for number in range(20):
        greedy.put_nowait(message(str(number)))
    assert modest.get_nowait().name == "mine"
    assert [greedy.get_nowait().name for _ in range(greedy.qsize())] == ["17", "18", "19"]
    assert greedy.bytes == modest.bytes == 0


def test_what_is_fetched_or_forgotten_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "MOST", 5 * PIECE)
    gone, reader = Unread(), Unread()
    for number in range(4):
        gone.put_nowait(message(str(number)))
    del gone
    gc.collect()
    for number in range(20):
        reader.put_nowait(message(str(number)))
        assert reader.get_nowait().name == str(number)
    for number in range(4):
        reader.put_nowait(message(str(number)))
    assert reader.qsize() == 4


def test_answers_that_nobody_fetches_do_not_fill_the_memory(
    server: Served, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread, "MOST", 5 * PIECE)
    long = wire.asked("x" * 190_000)
    tracemalloc.start()
    try:
        for _ in range(30):
            until(lambda: wire.join(long).status_code == 200)
        with closing(Wire(server)) as other:
            assert "You said: still here?" in other.ask("still here?")["text"]
        until(lambda: wire.http.get("/queue/status").json()["queue_size"] == 0)
        gc.collect()
        until(lambda: tracemalloc.get_traced_memory()[0] < 20 * PIECE, "the answers stayed")
    finally:
        tracemalloc.stop()


def test_of_too_many_sessions_the_oldest_goes_for_which_nothing_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "MOST_SESSIONS", 3)
    events: dict[str, Any] = {"one": SimpleNamespace(session_hash="first")}
    asked = {"first": {"one"}}
    sessions = Sessions(events, asked)
    sessions["first"] = Unread()
    for number in range(20):
        sessions[f"s{number}"] = Unread()
        asked[f"s{number}"] = set()
    assert [*sessions] == [*asked] == ["first", "s18", "s19"]
    events.clear()
    sessions["last"] = Unread()
    assert "first" not in sessions and "first" not in asked


def test_whoever_names_a_new_session_each_time_ends_nobody_elses_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """2000 questions that are none took a minute, and then whoever waited for a long answer was told "404"."""
    monkeypatch.setattr(unread, "MOST_SESSIONS", 5)
    with served(HeldBackend()) as server, closing(Wire(server)) as wire, closing(Wire(server)) as other:
        frames = wire.frames(wire.start("held"))
        next(frames)
        for _ in range(20):
            assert other.join({"session": "none"}).status_code == 200
        until(lambda: other.http.get("/queue/status").json()["queue_size"] == 0)
        server.backend.answer.set()
        server.backend.finish.set()
        assert "It is a circle." in list(frames)[-1]["text"]


def test_a_question_that_nobody_comes_for_ends_soon(
    server: Served, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a tab that was closed in between, it would be answered until its deadline, for nobody."""
    ended, whole = list[str](), HeldBackend.stream

    def watched(self: HeldBackend, request: Request) -> Iterator[Event]:
        try:
            yield from whole(self, request)
        finally:
            ended.append(request.conversation.messages[-1].text)

    monkeypatch.setattr(HeldBackend, "stream", watched)
    heard = wire.frames(wire.start("held, and heard"))
    next(heard)
    monkeypatch.setattr(endpoints, "ALONE_SECONDS", 0.5)
    gone = wire.start("held, for nobody")
    until(lambda: ended, "it was answered for nobody")
    assert ended == ["held, for nobody"]
    server.backend.answer.set()
    server.backend.finish.set()
    assert "It is a circle." in list(heard)[-1]["text"]
    assert list(wire.frames(gone))[-1]["sentence"] == endpoints.NOBODY


def test_gradio_keeps_no_session_of_a_question_that_is_over(wire: Wire) -> None:
    sessions = wire.served.blocks.app.state_holder.session_data
    before = {*sessions}
    for _ in range(3):
        wire.ask("Hello")
    assert {*sessions} <= before


def test_no_question_pays_for_those_before_it(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of each Gradio made a table of the last 10,000."""
    pandas = import_module("pandas")  # Gradio's
    tables, made = list[int](), pandas.DataFrame
    monkeypatch.setattr(pandas, "DataFrame", lambda records: tables.append(len(records)) or made(records))
    for _ in range(3):
        wire.ask("Hello")
    assert tables == []
