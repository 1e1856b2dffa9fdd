"""One road for every answer: what grows, what an error looks like, what Stop keeps, what a sent picture remembers."""

from __future__ import annotations

import functools
import json
import math
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ovis_app import chat
from ovis_app.backends.fake import FakeBackend
from ovis_app.conversation import Conversation, Detail, Media, Message, NotAConversation, Seen, Stats
from ovis_app.generation import Answer, Done, Event, GenerationSettings, Recast, Request, Thinking


def question(text: str, *media: Media) -> Conversation:
    return Conversation((Message("user", text, media),))


class Scripted(FakeBackend):
    def __init__(self, *events: Event) -> None:
        super().__init__()
        self.events = events

    def stream(self, request: Request) -> Iterator[Event]:
        yield from self.events


def states(backend: FakeBackend, request: Request) -> list[Message]:
    return [conversation.messages[-1] for conversation in chat.reply(backend, request)]


def test_the_first_value_comes_before_any_work() -> None:
    backend = FakeBackend()
    conversations = chat.reply(backend, Request(question("Hi")))
    assert next(conversations).messages[-1].role == "assistant"
    assert backend.requests == []
    conversations.close()


def test_thought_and_answer_grow_apart() -> None:
    backend = Scripted(
        Thinking("hm "), Thinking("two"), Answer("Two"), Answer("."), Done("end", Stats(answer_tokens=4))
    )
    seen = states(backend, Request(question("How many?")))
    assert seen[-1].thinking == "hm two" and seen[-1].text == "Two." and seen[-1].finish == "end"
    assert next(message for message in seen if message.text == "Two").thinking == "hm two"


def test_a_recast_thought_leaves_the_answer() -> None:
    last = states(Scripted(Answer("hm"), Recast(), Answer("Two."), Done("end", Stats())), Request(question("?")))[-1]
    assert (last.thinking, last.text) == ("hm", "Two.")


@pytest.mark.parametrize(("text", "said"), [("fail", "lower max pixels"), ("crash", "server's log")])
def test_a_failure_is_a_sentence_in_the_conversation(text: str, said: str) -> None:
    last = states(FakeBackend(), Request(question(text)))[-1]
    assert said in last.error and last.finish == "error" and "scripted" not in last.error


def test_stop_keeps_what_was_said() -> None:
    backend = FakeBackend()
    conversations = chat.reply(backend, Request(question("long")))
    state = next(state for state in conversations if len(state.messages[-1].text) > 20)
    conversations.close()
    stopped = chat.stopped(state).messages[-1]
    assert backend.live == 0
    assert stopped.finish == "stopped" and stopped.text == state.messages[-1].text


def test_pictures_remember_how_they_were_sent() -> None:
    settings = GenerationSettings(max_pixels=4096)
    talk = question("What?", Media("image", Path("a.png")))
    *_, after = chat.reply(FakeBackend(), Request(talk, settings))
    assert after.messages[0].media[0].detail == Detail(max_pixels=4096)
    *_, later = chat.reply(
        FakeBackend(), Request(after.add(Message("user", "And?")), GenerationSettings(max_pixels=9216))
    )
    assert later.messages[0].media[0].detail == Detail(max_pixels=4096)


def test_conversations_travel_as_json_and_pickles() -> None:
    media = (
        Media("video", Path("/x/clip.avi"), "clip.avi", Detail(frames=4), Path("/x/shown.mp4")),
        Media("image", Path("/x/a.png")),
        Media("image", Path("/x/a.tif"), "a.tif", Detail(split=True, piece=(1, 3)), pictures=4),
    )
    stats = Stats(answer_tokens=3, frame_times=(0.5, 1.5), seen=(Seen("clip.avi", 448, 448, 900, 900, frames=4),))
    talk = question("What?", *media).add(Message("assistant", "It moves.", thinking="hm", finish="end", stats=stats))
    assert Conversation.from_json(json.loads(json.dumps(talk.to_json()))) == talk
    assert pickle.loads(pickle.dumps(talk)) == talk


WHOLE = Conversation(
    (
        Message("user", "secret", (Media("image", Path("/x/a.png"), "a.png", Detail(max_pixels=5)),)),
        Message("assistant", "a cup", finish="end", stats=Stats(answer_tokens=3, frame_times=(0.5,))),
    )
).to_json()
GONE = object()
ANYTHING: list[Any] = [GONE, {}, [], [[]], {"x": 1}, True, 1.5, math.nan, math.inf, 10**400, "\0", "secret" * 3]
PLACES: dict[str, list[Any]] = {  # and what may stand there
    "messages": [[]],
    "messages[0].role": [],
    "messages[0].media": [GONE, []],
    "messages[0].media[0].kind": [],
    "messages[0].media[0].path": ["secret" * 3],
    "messages[0].media[0].detail": [GONE, {}],
    "messages[0].media[0].detail.max_pixels": [GONE],
    "messages[1].text": [GONE, "\0", "secret" * 3],
    "messages[1].finish": [GONE],
    "messages[1].stats": [GONE, {}],
    "messages[1].stats.answer_tokens": [GONE],
    "messages[1].stats.frame_times": [GONE, []],
    "messages[1].stats.frame_times[0]": [1.5],
}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_conversation_is_refused_by_the_name_of_its_bad_entry(place: str) -> None:
    steps = [int(step) if step.isdigit() else step for step in re.findall(r"\w+", place)]
    for value in ANYTHING:
        data: Any = json.loads(json.dumps(WHOLE))
        inside = functools.reduce(lambda within, step: within[step], steps[:-1], data)
        if value is GONE:
            if isinstance(steps[-1], int):
                continue
            del inside[steps[-1]]
        else:
            inside[steps[-1]] = value
        if any(value is good or (value == good and type(value) is type(good)) for good in PLACES[place]):
            assert Conversation.from_json(data).messages is not None
            continue
        with pytest.raises(NotAConversation) as refused:
            Conversation.from_json(data)
        named = place.rpartition("[")[0] if value is GONE and place.endswith("]") else place
        assert str(refused.value).startswith(named) and "secret" not in str(refused.value), (place, value)


@pytest.mark.parametrize("data", [None, [], 5, "x", {}, {"messages": [5]}, {"messages": [], "more": 1}])
def test_what_is_nothing_like_a_conversation_is_refused(data: Any) -> None:
    with pytest.raises(NotAConversation, match=r"^[A-Zm].*\.$"):
        Conversation.from_json(data)
