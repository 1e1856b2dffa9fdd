"""One road for every answer: what grows, what an error looks like, what Stop keeps, what a sent picture remembers."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovis_app import chat
from ovis_app.backends.fake import FakeBackend
from ovis_app.conversation import Conversation, Detail, Media, Message, Seen, Stats
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


def test_conversations_travel_as_pickles() -> None:
    media = (
        Media("video", Path("/x/clip.avi"), "clip.avi", Detail(frames=4), Path("/x/shown.mp4")),
        Media("image", Path("/x/a.png")),
        Media("image", Path("/x/a.tif"), "a.tif", Detail(split=True, piece=(1, 3)), pictures=4),
    )
    stats = Stats(answer_tokens=3, frame_times=(0.5, 1.5), seen=(Seen("clip.avi", 448, 448, 900, 900, frames=4),))
    talk = question("What?", *media).add(Message("assistant", "It moves.", thinking="hm", finish="end", stats=stats))
    assert pickle.loads(pickle.dumps(talk)) == talk
