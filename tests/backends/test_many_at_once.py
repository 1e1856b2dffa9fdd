"""Many people at once: with the batched engine each gets the answer that they would get alone, and the page is told who
answered."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ovis_app import chat
from ovis_app.backends.local import model_pool
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.checkpoints import tokenizer
from ovis_app.checkpoints.hub import no_progress
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.engine import batched
from ovis_app.engine.decode import Decoder
from ovis_app.generation import Answer, GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from tests.waiting import PATIENCE, until

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
FOLDERS = {name: str(GOLDEN / name / "public-a" / "checkpoint") for name in ("ovis2.5", "ovis2", "ovis1.6")}
SHORT = GenerationSettings(max_new_tokens=12)


def opened(family: str, engine: str) -> LocalBackend:
    return LocalBackend(Settings(model=FOLDERS[family], device="cpu", engine=engine), Limits())


def answer(backend: LocalBackend, request: Request) -> Message:
    *_, last = chat.reply(backend, request)
    return last.messages[-1]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Media]:
    for name in ("red", "green", "blue"):
        Image.new("RGB", (96, 64), name).save(tmp_path / f"{name}.png")
    return [Media("image", tmp_path / f"{name}.png", f"{name}.png") for name in ("red", "green", "blue")]


def requests(pictures: list[Media], seed: int) -> Iterator[Request]:
    """Questions of one or two turns, about text or pictures, some with a thought."""
    rng = random.Random(seed)
    for number in range(10):
        media = tuple(rng.sample(pictures, rng.choice((0, 1, 1, 2))))
        talk = Conversation((Message("user", f"Question {number}: what is there?", media),))
        if rng.random() < 0.5:
            talk = talk.add(Message("assistant", "A picture.", finish="end")).add(Message("user", "What else?"))
        thinking = rng.random() < 0.4
        settings = replace(SHORT, thinking=thinking, thinking_budget=8, max_new_tokens=64 if thinking else 12)
        yield Request(talk, settings)


@pytest.mark.parametrize("family", ["ovis2.5", "ovis2"])
def test_ten_at_once_get_what_each_would_get_alone(family: str, pictures: list[Media]) -> None:
    asked = list(requests(pictures, seed=3))
    with closing(opened(family, "solo")) as alone:
        expected = [answer(alone, request) for request in asked]
    answers: dict[int, Message] = {}
    with closing(opened(family, "batched")) as together:

        def ask(number: int) -> None:
            answers[number] = answer(together, asked[number])

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(asked))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    for number, wanted in enumerate(expected):
        got = answers[number]
        assert (got.error, got.text, got.thinking, got.finish) == ("", wanted.text, wanted.thinking, wanted.finish)
        assert got.stats is not None and got.stats.engine == "batched"
        assert wanted.stats is not None and wanted.stats.engine == ""
        assert got.stats.answer_tokens == wanted.stats.answer_tokens


def test_what_the_engine_cannot_serve_is_answered_alone_and_says_so(pictures: list[Media]) -> None:
    with closing(opened("ovis2.5", "batched")) as backend:
        odd = Request(Conversation((Message("user", "Hi"),)), replace(SHORT, repetition_penalty=1.3))
        message = answer(backend, odd)
        assert message.error == "" and message.stats is not None and message.stats.engine == "solo"
    with closing(opened("ovis1.6", "batched")) as backend:  # a sliding window
        message = answer(backend, Request(Conversation((Message("user", "Hi", (pictures[0],)),)), SHORT))
        assert message.error == "" and message.stats is not None and message.stats.engine == ""


def test_who_comes_alone_has_the_recorded_graphs_and_who_comes_then_is_batched(
    endless: None, pictures: list[Media]
) -> None:
    """With a stand-in for the graphs, which no CPU has."""
    long = Request(Conversation((Message("user", "Go on"),)), GenerationSettings(max_new_tokens=2000))
    with closing(opened("ovis2.5", "batched")) as backend:
        session = backend._open(no_progress)
        session._decoder = Decoder(session.loaded.model.llm, 4096)
        with closing(backend.stream(long)) as first:
            next(event for event in first if isinstance(event, Answer))
            short = Request(Conversation((Message("user", "Hi", (pictures[0],)),)), SHORT)
            second = answer(backend, short)
            assert second.error == "" and second.stats is not None and second.stats.engine == "batched"
        until(lambda: backend.status().phase == "ready", "the first answer never ended")
        alone = answer(backend, short)
        assert alone.stats is not None and alone.stats.engine == "solo" and alone.text == second.text


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer ends by itself."""
    monkeypatch.setattr(model_pool, "_models", {})
    monkeypatch.setattr(tokenizer, "ending_of", lambda *_: Ending((703,), 608))


def test_stop_ends_one_answer_and_gives_its_pages_back(endless: None) -> None:
    long = Request(Conversation((Message("user", "Go on"),)), GenerationSettings(max_new_tokens=4000))
    with closing(opened("ovis2.5", "batched")) as backend:
        with closing(backend.stream(long)) as one, closing(backend.stream(long)) as other:
            for events in (one, other):
                next(event for event in events if isinstance(event, Answer))
            one.close()
            assert sum(isinstance(next(other), Answer) for _ in range(20)) > 0  # nobody else is stopped
        engine = backend._session._batched
        assert engine is not None
        until(lambda: backend.status().phase == "ready" and not engine.pages[0], "the pages are still held")


def test_a_failure_in_the_engine_is_a_sentence_and_the_next_question_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> object:
        raise RuntimeError("secret /path/to/weights")

    hello = Request(Conversation((Message("user", "Hi"),)), SHORT)
    with closing(opened("ovis2.5", "batched")) as backend:
        with monkeypatch.context() as patch:
            patch.setattr(batched.BatchedEngine, "generate", broken)
            message = answer(backend, hello)
        assert "failed while answering" in message.error and "secret" not in message.error
        assert answer(backend, hello).error == ""


def test_a_change_of_models_waits_for_all_answers_and_ends_the_engine(endless: None) -> None:
    long = Request(Conversation((Message("user", "Go on"),)), GenerationSettings(max_new_tokens=4000))
    with closing(opened("ovis2.5", "batched")) as backend:
        with closing(backend.stream(long)) as events:
            next(event for event in events if isinstance(event, Answer))
            engine = backend._session._batched
            backend.change(FOLDERS["ovis2"])
            for _ in range(10):
                next(events)
            assert backend.status().model.id == FOLDERS["ovis2.5"]
        until(lambda: backend.status().change is None, "the change never ended")
        assert backend.status().problem == "" and backend.status().model.id == FOLDERS["ovis2"]
        assert engine is not None and engine.pages == (0, 0)
        message = answer(backend, Request(Conversation((Message("user", "Hi"),)), SHORT))
        assert message.stats is not None and message.stats.engine == "batched"
