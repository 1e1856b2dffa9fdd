"""Answers that nobody fetches take only so much memory, and nobody else's."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import closing
from types import SimpleNamespace
from weakref import WeakSet

import pytest

from ovis_app.ui import unread
from ovis_app.ui.unread import Unread
from tests.ui.serving import Served, Wire, texts
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
    stop = wire.event("box", "stop", python=False)
    for _ in range(5):
        wire.send("x" * 190_000)
        wire.run(wire.after(stop), [None])
    tracemalloc.start()
    try:
        for _ in range(30):
            until(lambda: wire.join(wire.after(stop), [None]).status_code == 200)
        with closing(Wire(server)) as other:
            assert "You said: still here?" in str(texts(other.ask("still here?")[1]))
        until(lambda: wire.http.get("/queue/status").json()["queue_size"] == 0)
        gc.collect()
        until(lambda: tracemalloc.get_traced_memory()[0] < 20 * PIECE, "the answers stayed")
    finally:
        tracemalloc.stop()
