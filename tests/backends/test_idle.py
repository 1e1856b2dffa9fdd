"""A model that nobody asks gives its memory back, and the next question, whoever asks it, brings it back. On a tiny
checkpoint, by a clock of the tests' own."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing

import httpx
import pytest

from ovis_app import chat
from ovis_app.backend import Status
from ovis_app.backends.local import model_pool
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.backends.local.session import Session
from ovis_app.checkpoints import tokenizer
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.conversation import Conversation, Message
from ovis_app.generation import Done, GenerationSettings, Request, Waiting
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.ui.panels import header, models
from tests.backends.test_model_switch import FOLDERS, answer, ask, wait_for_text
from tests.ui.serving import served_api
from tests.waiting import PATIENCE, until

MINUTES = 10.0


class Clock:
    """Stands still until a test turns it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Timed(LocalBackend):
    """One whose time passes at once."""

    def __init__(self, **changes: float | str) -> None:
        self.clock = Clock()
        chosen = {"model": str(FOLDERS["ovis2.5"]), "device": "cpu", "unload_after": MINUTES, **changes}
        super().__init__(Settings(**chosen), Limits(), clock=self.clock)  # type: ignore[arg-type]

    def wait(self, minutes: float = MINUTES) -> None:
        self.clock.now += 60 * minutes
        self._idle.look()

    @property
    def aside(self) -> bool:
        return self.status().phase == "unloaded"


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Timed]:
    monkeypatch.setattr(model_pool, "_models", {})
    with closing(Timed()) as here:
        yield here


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


class Held:
    """Counts how often weights are loaded, and holds that up as long as a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times, self.may = 0, threading.Event()
        self.may.set()
        whole = model_pool.load_weights

        def counted(*given: object, **options: object) -> object:
            self.times += 1
            assert self.may.wait(PATIENCE)
            return whole(*given, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(model_pool, "load_weights", counted)


def put_aside(backend: Timed) -> None:
    until(lambda: backend.wait() or backend.aside)


def test_a_model_that_nobody_asks_gives_its_memory_back_and_the_next_question_loads_it(
    backend: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    hello, held, prepare = ask("Hi"), list[weakref.ref[object]](), Session.prepare

    def watched(session: Session, *given: object) -> object:
        assert session.engine is not None
        parts = (session.loaded.model, session.engine.runner.pool, session._encoder.cache)
        held.extend(weakref.ref(one) for one in parts)
        return prepare(session, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "prepare", watched)
    first = answer(backend, hello)
    assert first.error == ""
    until(lambda: backend.status().phase == "ready")
    backend.wait(MINUTES - 1)
    assert backend.status().phase == "ready"
    put_aside(backend)
    until(lambda: gc.collect() >= 0 and not any(one() for one in held), "something holds what was put aside")
    assert len(held) == 3 and model_pool.loaded_bytes() == 0
    with closing(backend.stream(hello)) as events:
        notes = [event.note for event in events if isinstance(event, Waiting)]
    assert len(held) == 6 and not any("aside" in note for note in notes)
    assert answer(backend, hello).text == first.text


def test_whoever_asks_in_that_very_moment_is_answered(backend: Timed) -> None:
    """Four who ask, while the time passes as often as it can."""
    asked = [ask(f"Question {number}") for number in range(4)]
    expected = [answer(backend, one).text for one in asked]
    times, gone = 0, backend._give_up

    def counted() -> None:
        nonlocal times
        times += 1
        gone()

    backend._give_up = counted  # type: ignore[method-assign]

    def talk(number: int) -> list[tuple[str, str]]:
        said = []
        for _ in range(5):
            message = answer(backend, asked[number])
            said.append((message.error, message.text))
        return said

    with ThreadPoolExecutor(4) as threads:
        talks = [threads.submit(talk, number) for number in range(4)]
        while wait(talks, timeout=0.005).not_done:
            backend.wait()
    assert [one.result() for one in talks] == [[("", text)] * 5 for text in expected]
    put_aside(backend)
    assert times > 0


def test_who_comes_while_it_goes_and_comes_back_waits_for_one_load(backend: Timed, loads: Held) -> None:
    text = answer(backend, ask("Hi")).text
    until(lambda: backend.status().phase == "ready")
    going, go_on, gone = threading.Event(), threading.Event(), backend._give_up

    def slowly() -> None:
        going.set()
        assert go_on.wait(PATIENCE)
        gone()

    backend._give_up = slowly  # type: ignore[method-assign]
    backend.wait()
    assert going.wait(PATIENCE)
    loads.may.clear()
    with ExitStack() as asked, ThreadPoolExecutor(2) as threads:
        asked.callback(loads.may.set)  # whatever fails: nobody is left waiting
        leaving = asked.enter_context(closing(backend.stream(ask("Hi"))))  # type: ignore[type-var]
        assert next(leaving) == Waiting("Loading checkpoint")
        staying = [threads.submit(answer, backend, ask("Hi")) for _ in range(2)]
        go_on.set()
        until(lambda: backend.status().phase == "returning")
        assert "Loading" in header.pill_of(backend.status(), "")
        leaving.close()  # type: ignore[attr-defined]
        backend.wait()
        loads.may.set()
        assert [one.result(PATIENCE).text for one in staying] == [text] * 2
    assert loads.times == 2
    put_aside(backend)


def test_programs_wait_for_it_too(backend: Timed, loads: Held) -> None:
    answer(backend, ask("Hi"))
    put_aside(backend)
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 4}
    loads.may.clear()
    with served_api(backend) as here, ThreadPoolExecutor(2) as threads:

        def program() -> int:
            return httpx.post(here.url + "v1/chat/completions", json=body, timeout=PATIENCE).status_code

        first = threads.submit(program)
        until(lambda: backend.status().phase == "returning")
        second = threads.submit(program)
        until(lambda: backend._worker.ahead(backend._worker._submitted) > 0)
        early = httpx.post(here.url + "tokenize", json=body, timeout=PATIENCE)
        assert early.status_code == 503 and "retry-after" in early.headers
        loads.may.set()
        assert (first.result(), second.result(), loads.times) == (200, 200, 2)
        assert httpx.post(here.url + "tokenize", json=body, timeout=PATIENCE).json()["count"] > 0


def test_nobody_is_put_aside_who_answers_or_waits(backend: Timed, loads: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "ending_of", lambda *_: Ending((703,), 608))
    long = Request(Conversation((Message("user", "go on"),)), GenerationSettings(max_new_tokens=400))
    with closing(backend.stream(long)) as events:
        wait_for_text(events)
        for _ in range(5):
            backend.wait()
            wait_for_text(events)
            assert backend.status().phase == "answering"
    put_aside(backend)
    loads.may.clear()
    with closing(backend.stream(ask("Hi"))) as events:
        next(events)
        until(lambda: backend.status().phase == "returning")
        backend.wait()
        loads.may.set()
        assert isinstance([*events][-1], Done)
    assert loads.times == 2


def test_a_load_that_takes_long_isnt_counted_as_nobody_asking(backend: Timed, loads: Held) -> None:
    loads.may.clear()
    backend.warm()
    until(lambda: loads.times == 1)
    backend.wait()
    loads.may.set()
    until(lambda: not backend._worker.busy)
    backend.wait(MINUTES - 1)
    until(lambda: not backend._worker.busy)
    assert backend.status().phase == "ready"
    put_aside(backend)


def test_a_change_and_a_question_that_is_being_written_bring_it_back_too(backend: Timed) -> None:
    answer(backend, ask("Hi"))
    put_aside(backend)
    backend.change(str(FOLDERS["ovis2"]))
    until(lambda: backend.status().change is None)
    assert backend.status().model.id == str(FOLDERS["ovis2"]) and backend.status().problem == ""
    put_aside(backend)
    until(lambda: backend.weigh(ask("Hi")) is not None)
    put_aside(backend)
    assert backend.status().model.id == str(FOLDERS["ovis2"])


def test_by_itself_nothing_is_put_aside() -> None:
    with closing(Timed(unload_after=Settings.unload_after)) as backend:
        *_, last = chat.reply(backend, ask("Hi"))
        assert last.messages[-1].error == ""
        until(lambda: backend.status().phase == "ready")
        backend.wait(60 * 24 * 30)
        assert not backend._worker.busy and backend.status().phase == "ready"


def test_the_thread_that_watches_the_clock_puts_aside_by_itself() -> None:
    chosen = Settings(model=str(FOLDERS["ovis2.5"]), device="cpu", unload_after=0.02 / 60)
    with closing(LocalBackend(chosen, Limits())) as backend:
        backend.warm()
        until(lambda: backend.status().phase == "unloaded")


def test_the_page_says_so_calmly() -> None:
    with closing(Timed(model="ovis-mini")) as backend:
        spec = backend.spec
    words = "Ovis-mini was put aside after 10 min without a question; the next one brings it back"
    status = Status(spec, "unloaded", words)
    pill = header.pill_of(status, "")
    assert "calm" in pill and ">put aside<" in pill and words in pill
    assert models.on_this_machine(status) == [f"{words}."]
