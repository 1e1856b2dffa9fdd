"""Many people at once: each gets the answer that they would get alone."""

from __future__ import annotations

import json
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
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.engine import memory_plan
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
    with closing(opened(family, "plain")) as alone:
        expected = [answer(alone, request) for request in asked]
    answers: dict[int, Message] = {}
    with closing(opened(family, "auto")) as together:

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
        assert got.stats is not None and wanted.stats is not None
        assert got.stats.answer_tokens == wanted.stats.answer_tokens


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer ends by itself."""
    monkeypatch.setattr(model_pool, "_models", {})
    monkeypatch.setattr(tokenizer, "ending_of", lambda *_: Ending((703,), 608))


def test_stop_ends_one_answer_and_gives_its_blocks_back(endless: None) -> None:
    long = Request(Conversation((Message("user", "Go on"),)), GenerationSettings(max_new_tokens=4000))
    with closing(opened("ovis2.5", "auto")) as backend:
        with closing(backend.stream(long)) as one, closing(backend.stream(long)) as other:
            for events in (one, other):
                next(event for event in events if isinstance(event, Answer))
            one.close()
            assert sum(isinstance(next(other), Answer) for _ in range(20)) > 0  # nobody else is stopped
        engine = backend._session.engine
        assert engine is not None
        until(lambda: backend.status().phase == "ready" and not engine.blocks.held, "the blocks are still held")


def test_a_change_of_models_waits_for_all_answers_and_ends_the_engine(endless: None) -> None:
    long = Request(Conversation((Message("user", "Go on"),)), GenerationSettings(max_new_tokens=4000))
    with closing(opened("ovis2.5", "auto")) as backend:
        with closing(backend.stream(long)) as events:
            next(event for event in events if isinstance(event, Answer))
            engine = backend._session.engine
            backend.change(FOLDERS["ovis2"])
            for _ in range(10):
                next(events)
            assert backend.status().model.id == FOLDERS["ovis2.5"]
        until(lambda: backend.status().change is None, "the change never ended")
        assert backend.status().problem == "" and backend.status().model.id == FOLDERS["ovis2"]
        assert engine is not None and backend._session.engine is not engine and engine.blocks.held == 0
        message = answer(backend, Request(Conversation((Message("user", "Hi"),)), SHORT))
        assert message.error == "" and message.stats is not None and message.stats.engine == ""


def test_where_memory_is_short_answers_are_as_long_as_it_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever length was asked for; only a prompt that leaves no room is refused."""
    monkeypatch.setattr(model_pool, "_models", {})
    monkeypatch.setattr(tokenizer, "ending_of", lambda *_: Ending((703,), 608))
    monkeypatch.setattr(memory_plan, "LEAST", 64)
    monkeypatch.setattr(memory_plan, "working_memory", lambda model: 0)
    monkeypatch.setattr(memory_plan, "CPU_SHARE", 1.0)
    config = json.loads((Path(FOLDERS["ovis2.5"]) / "config.json").read_text())["llm_config"]
    token = 2 * 4 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"]
    monkeypatch.setattr(memory_plan, "bytes_available", lambda *_: 96 * token)
    with closing(opened("ovis2.5", "auto")) as backend:
        long = answer(backend, Request(Conversation((Message("user", "Hi"),)), GenerationSettings(max_new_tokens=9999)))
        assert long.finish == "length" and long.stats is not None
        assert (long.stats.prompt_tokens or 0) + (long.stats.answer_tokens or 0) == 96
        refused = answer(backend, Request(Conversation((Message("user", "Hi " * 99),)), SHORT))
        assert "there is memory for 96" in refused.error
