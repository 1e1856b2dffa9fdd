"""One line for all who ask: so many at once, so many waiting, in turn between clients."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from ovis_app.backend import Occupancy
from ovis_app.backends import fair_queue
from ovis_app.backends.fair_queue import FairQueue
from ovis_app.backends.fake import FakeBackend
from ovis_app.conversation import Conversation, Message, Stats
from ovis_app.errors import Busy, RequestError
from ovis_app.generation import Done, Event, GenerationSettings, Request, Waiting
from ovis_app.limits import Limits
from tests.waiting import PATIENCE, until


@dataclass
class Gate(FakeBackend):
    """Answers once `open` is set, and remembers in which order it was asked."""

    open: threading.Event = field(default_factory=threading.Event)
    order: list[str] = field(default_factory=list)

    def stream(self, request: Request) -> Iterator[Event]:
        self.order.append(request.conversation.messages[-1].text)
        self.live += 1
        try:
            while not self.open.wait(0.02):
                yield Waiting("Reading")
            yield Done("end", Stats())
        finally:
            self.live -= 1


def ask(text: str, client: str = "", settings: GenerationSettings | None = None) -> Request:
    return Request(Conversation((Message("user", text),)), settings or GenerationSettings(), client)


class Asker:
    """Asks in a thread of its own, until it is answered, refused, or leaves."""

    def __init__(self, line: FairQueue, request: Request) -> None:
        self.events: list[Event] = []
        self.error: Exception | None = None
        self.left = threading.Event()
        self._events = line.stream(request)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        until(lambda: self.events or self.error)

    def _run(self) -> None:
        try:
            for event in self._events:
                self.events.append(event)
                if self.left.is_set():
                    self._events.close()  # type: ignore[attr-defined]
                    return
        except Exception as error:
            self.error = error

    def end(self) -> None:
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    @property
    def said(self) -> str:
        return next((event.note for event in reversed(self.events) if isinstance(event, Waiting)), "")


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def line(gate: Gate, *, at_once: int = 1, most_waiting: int = 8) -> FairQueue:
    return FairQueue(gate, Limits(), at_once=at_once, most_waiting=most_waiting)


def test_clients_are_served_in_turn_however_many_questions_one_has(gate: Gate) -> None:
    queue = line(gate)
    askers = [Asker(queue, ask("first", "a"))]
    askers += [Asker(queue, ask(f"a{number}", "a")) for number in range(3)]
    askers += [Asker(queue, ask(f"b{number}", "b")) for number in range(2)]
    askers.append(Asker(queue, ask("c0", "c")))
    assert gate.order == ["first"]
    gate.open.set()
    for asker in askers:
        asker.end()
        assert isinstance(asker.events[-1], Done)
    assert gate.order == ["first", "a0", "b0", "c0", "a1", "b1", "a2"]


def test_who_waits_hears_how_many_come_before_and_that_often(gate: Gate) -> None:
    queue = line(gate)
    Asker(queue, ask("first", "a"))
    second, third = Asker(queue, ask("a0", "a")), Asker(queue, ask("a1", "a"))
    late = Asker(queue, ask("b0", "b"))
    assert second.said == "Waiting for 1 other question"
    until(lambda: third.said == "Waiting for 3 other questions")  # b's comes before a's second
    assert late.said == "Waiting for 2 other questions"
    before = len(late.events)
    until(lambda: len(late.events) >= before + 5)  # so that leaving is heard of
    gate.open.set()


def test_who_waits_hears_how_long_that_takes_once_turns_were_taken(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(fair_queue, "time", clock)
    gates = [threading.Event() for _ in range(5)]
    held = iter(gates)
    monkeypatch.setattr(gate, "stream", lambda request: Gate(open=next(held)).stream(request))
    queue = line(gate)
    askers = [Asker(queue, ask(f"q{number}", "a")) for number in range(5)]
    until(lambda: askers[4].said == "Waiting for 4 other questions")
    clock.now = 10.0
    gates[0].set()
    until(lambda: askers[4].said == "Waiting for 3 other questions, about 30 s")
    until(lambda: askers[2].said == "Waiting for 1 other question, about 10 s")
    clock.now = 30.0
    gates[1].set()
    until(lambda: askers[4].said == "Waiting for 2 other questions, about 26 s")
    for one in gates:
        one.set()


def test_as_many_as_may_are_answered_at_once(gate: Gate) -> None:
    queue = line(gate, at_once=3)
    askers = [Asker(queue, ask(f"q{number}", "a")) for number in range(5)]
    until(lambda: gate.live == 3)
    assert len(gate.order) == 3
    gate.open.set()
    for asker in askers:
        asker.end()
    assert sorted(gate.order) == [f"q{number}" for number in range(5)]


def test_more_than_may_wait_are_refused_and_leave_no_trace(gate: Gate) -> None:
    queue = line(gate, most_waiting=2)
    askers = [Asker(queue, ask(f"q{number}", "a")) for number in range(3)]
    refused = Asker(queue, ask("too many", "a"))
    refused.end()
    assert isinstance(refused.error, Busy) and str(refused.error).endswith(".")
    gate.open.set()
    for asker in askers:
        asker.end()
    assert "too many" not in gate.order
    assert isinstance([*queue.stream(ask("again", "a"))][-1], Done)


def test_nobody_can_fill_the_line_for_others(gate: Gate) -> None:
    queue = line(gate, most_waiting=3)
    greedy = [Asker(queue, ask(f"a{number}", "a")) for number in range(4)]
    modest = Asker(queue, ask("b0", "b"))
    until(lambda: isinstance(greedy[-1].error, Busy))
    assert modest.error is None
    gate.open.set()
    modest.end()
    assert gate.order[:3] == ["a0", "a1", "b0"]


def test_who_leaves_while_waiting_gives_the_place_back(gate: Gate) -> None:
    queue = line(gate, most_waiting=1)
    first, second = Asker(queue, ask("first", "a")), Asker(queue, ask("second", "b"))
    second.left.set()
    second.end()
    third = Asker(queue, ask("third", "c"))
    assert third.error is None
    first.left.set()
    first.end()
    until(lambda: gate.order == ["first", "third"])
    gate.open.set()
    third.end()
    assert isinstance(third.events[-1], Done)


def test_what_cant_be_answered_doesnt_wait_to_hear_it(gate: Gate) -> None:
    queue = line(gate, most_waiting=0)
    Asker(queue, ask("first"))
    with pytest.raises(RequestError, match="temperature"):
        next(iter(queue.stream(ask("x", settings=GenerationSettings(temperature=99)))))
    with pytest.raises(Busy):
        next(iter(queue.stream(ask("x"))))


def test_a_failing_answer_gives_its_place_back() -> None:
    queue = FairQueue(FakeBackend(), Limits(), at_once=1, most_waiting=0)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            list(queue.stream(ask("crash")))
    assert isinstance([*queue.stream(ask("hello"))][-1], Done)


def test_it_hands_on_what_isnt_its_own() -> None:
    backend = FakeBackend()
    queue = FairQueue(backend, Limits(), at_once=1, most_waiting=1)
    assert queue.status() == backend.status() and queue.offers() == backend.offers()
    assert queue.count(ask("hello")) == backend.count(ask("hello"))


def test_nobody_who_asks_stands_behind_whoever_counts() -> None:
    asked, may = threading.Event(), threading.Event()

    class Slow(FakeBackend):
        def occupancy(self) -> Occupancy:
            asked.set()
            assert may.wait(PATIENCE)
            return Occupancy(running=9)

    line, counted = FairQueue(Slow(), Limits(), at_once=1, most_waiting=1), list[Occupancy]()
    counting = threading.Thread(target=lambda: counted.append(line.occupancy()), daemon=True)
    counting.start()
    assert asked.wait(PATIENCE)
    assert isinstance([*line.stream(ask("Hi"))][-1], Done) and counting.is_alive()
    may.set()
    counting.join(PATIENCE)
    assert [(one.running, one.waiting) for one in counted] == [(0, 0)]
