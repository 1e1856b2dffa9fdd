"""This app as its own remote: what Ovis-mini answers here, it answers through our own /v1 too."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("torch", reason="the model answers in this process")

from ovis_app import chat
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.backends.remote.backend import RemoteBackend
from ovis_app.conversation import Media, Message
from ovis_app.generation import Answer, GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from tests.backends.remote.asking import CLIP, EXAMPLES, answer, remote, talk
from tests.ui.serving import served_api
from tests.waiting import until

COUNTING = Media("image", EXAMPLES / "counting.png", "counting.png")
TWO = (Media("image", EXAMPLES / "left.png", "left.png"), Media("image", EXAMPLES / "right.png", "right.png"))


@pytest.fixture(scope="module")
def here() -> Iterator[LocalBackend]:
    backend = LocalBackend(Settings(device="cpu"), Limits())
    backend.warm()
    until(lambda: backend.status().phase == "ready")
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def away(here: LocalBackend) -> Iterator[RemoteBackend]:
    with served_api(here) as server, remote(f"mini={server.url}v1") as backend:
        yield backend


ASKED: list[tuple[Any, dict[str, Any]]] = [
    (talk("Hello! What can you do?"), {}),
    (talk(Message("user", "How many shapes are there?", (COUNTING,))), {}),
    (talk(Message("user", "How many shapes are there?", (COUNTING,))), {"thinking": True, "thinking_budget": 200}),
    (talk(Message("user", "How many shapes are there?", (COUNTING,))), {"thinking": True, "thinking_budget": 8}),
    (talk(Message("user", "Which image has more shapes?", TWO)), {}),
    (talk(Message("user", "Which way does it move?", (CLIP,))), {}),
    (talk(Message("user", "How many shapes are there?", (COUNTING,)), "Four.", "What colour are they?"), {}),
    (talk("Say something."), {"temperature": 1.0, "seed": 5, "top_k": 7, "repetition_penalty": 1.1}),
    (talk("Hello! What can you do?"), {"max_new_tokens": 3}),
]


@pytest.mark.parametrize("number", range(len(ASKED)))
def test_the_answer_is_the_one_that_is_given_here(here: LocalBackend, away: RemoteBackend, number: int) -> None:
    asked, settings = ASKED[number]
    *_, last = chat.reply(here, Request(asked, GenerationSettings(**settings)))
    expected, said = last.messages[-1], answer(away, asked, **settings)
    assert (said.text, said.thinking, said.error) == (expected.text, expected.thinking, expected.error)
    assert said.finish == expected.finish and said.stats is not None and expected.stats is not None
    for name in ("prompt_tokens", "visual_tokens", "answer_tokens", "thinking_tokens", "frame_times"):
        assert getattr(said.stats, name) == getattr(expected.stats, name), name


def test_it_tells_its_name_and_context_and_counts_tokens(away: RemoteBackend) -> None:
    now = away.status()
    assert (now.phase, now.model.name, now.model.context) == ("ready", "Ovis-mini", 4096)
    asked = Request(talk(Message("user", "How many shapes are there?", (COUNTING,))))
    said = answer(away, asked.conversation)
    assert said.stats is not None and away.count(asked) == said.stats.prompt_tokens


def test_old_turns_are_left_out_where_they_do_not_fit(away: RemoteBackend) -> None:
    asked = talk("One? " * 900, "Yes.", "Two? " * 200, "No.", "What can you do?")
    assert "tokens long" in answer(away, asked).error
    said = answer(away, asked, drop_old_turns=True, max_new_tokens=256)
    assert not said.error and said.stats is not None and said.stats.dropped_turns == 1


def test_stop_reaches_the_model(here: LocalBackend, away: RemoteBackend) -> None:
    stream = away.stream(Request(talk("Hello!"), GenerationSettings(max_new_tokens=1500, temperature=5.0, seed=1)))
    assert list(itertools.islice((event for event in stream if isinstance(event, Answer)), 1))
    stream.close()  # type: ignore[attr-defined]
    until(lambda: here.status().phase == "ready")
