"""A model that nobody asks gives its memory back, and the next question, whoever asks it, brings it back. On a tiny
checkpoint that is put aside after a moment."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from ovis_app import chat
from ovis_app.backend import Status
from ovis_app.backends.local import model_pool
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.backends.local.session import Session
from ovis_app.checkpoints import tokenizer
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.conversation import Conversation, Message
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.generation import GenerationSettings, Request, Waiting
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.ui.panels import header, models
from tests.backends.test_model_switch import FOLDERS, answer, ask, wait_for_text
from tests.waiting import until

SOON = 0.05 / 60  # minutes


def opened(**changes: float | str) -> LocalBackend:
    chosen = {"model": str(FOLDERS["ovis2.5"]), "device": "cpu", "unload_after": SOON, **changes}
    return LocalBackend(Settings(**chosen), Limits())  # type: ignore[arg-type]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBackend]:
    monkeypatch.setattr(model_pool, "_models", {})
    with closing(opened()) as here:
        yield here


def aside(backend: LocalBackend) -> bool:
    return backend.status().phase == "unloaded"


def test_a_model_that_nobody_asks_gives_its_memory_back_and_the_next_question_loads_it(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
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
    until(lambda: aside(backend))
    until(lambda: gc.collect() >= 0 and not any(one() for one in held), "something holds what was put aside")
    assert len(held) == 3 and model_pool.loaded_bytes() == 0
    with closing(backend.stream(hello)) as events:
        notes = [event.note for event in events if isinstance(event, Waiting)]
    assert len(held) == 6 and not any("aside" in note for note in notes)
    assert answer(backend, hello).text == first.text


def test_whoever_asks_in_that_very_moment_is_answered(backend: LocalBackend) -> None:
    """Four who ask, each after pauses of another length about as long as it takes to be put aside."""
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
        for round_ in range(8):
            time.sleep(0.02 * ((number + round_) % 5))
            message = answer(backend, asked[number])
            said.append((message.error, message.text))
        return said

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(talk, range(4)))
    assert found == [[("", text)] * 8 for text in expected]
    until(lambda: aside(backend))
    assert times > 0


def test_nobody_is_put_aside_who_answers(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "ending_of", lambda *_: Ending((703,), 608))
    run = ModelRunner.run
    monkeypatch.setattr(ModelRunner, "run", lambda *given: time.sleep(0.005) or run(*given))
    long = Request(Conversation((Message("user", "go on"),)), GenerationSettings(max_new_tokens=400))
    with closing(backend.stream(long)) as events:
        wait_for_text(events)
        for _ in range(5):
            time.sleep(0.05)
            wait_for_text(events)
            assert backend.status().phase == "answering"
    until(lambda: aside(backend))


def test_a_change_and_a_question_that_is_being_written_bring_it_back_too(backend: LocalBackend) -> None:
    answer(backend, ask("Hi"))
    until(lambda: aside(backend))
    backend.change(str(FOLDERS["ovis2"]))
    until(lambda: backend.status().change is None)
    assert backend.status().model.id == str(FOLDERS["ovis2"]) and backend.status().problem == ""
    until(lambda: aside(backend))
    until(lambda: backend.weigh(ask("Hi")) is not None)
    until(lambda: aside(backend))
    assert backend.status().model.id == str(FOLDERS["ovis2"])


def test_by_itself_nothing_is_put_aside() -> None:
    with closing(opened(unload_after=Settings.unload_after)) as backend:
        *_, last = chat.reply(backend, ask("Hi"))
        assert last.messages[-1].error == ""
        time.sleep(0.3)
        assert backend.status().phase == "ready"


def test_the_page_says_so_calmly() -> None:
    with closing(opened(model="ovis-mini", unload_after=10.0)) as backend:
        spec = backend.spec
    words = "Ovis-mini was put aside after 10 min without a question; the next one brings it back"
    status = Status(spec, "unloaded", words)
    pill = header.pill_of(status, "")
    assert "calm" in pill and ">put aside<" in pill and words in pill
    assert f"{words}." in models.on_this_machine(status)
