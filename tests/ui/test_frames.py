"""A growing answer as frames: only what is new, and at the end all of it."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import Mock

from ovis_app.conversation import Conversation, Message, Seen, Stats
from ovis_app.ui.frames import changes, failed, figures, timed

START = Message("assistant", status="Starting")


def frames(*states: Message) -> list[dict[str, object]]:
    return [frame for several in changes(Conversation((state,)) for state in states) for frame in several]


def test_each_frame_says_what_the_ones_before_did_not() -> None:
    thinking = replace(START, status="", thinking="Hm")
    said = frames(START, START, thinking, replace(thinking, text="A c"), replace(thinking, text="A cup."))
    assert said == [
        {"kind": "waiting", "note": "Starting"},
        {"kind": "thinking", "text": "Hm"},
        {"kind": "answer", "text": "A c"},
        {"kind": "answer", "text": "up."},
    ]


def test_what_turns_out_to_have_been_the_thought_is_told_and_goes_on_from_there() -> None:
    answer = replace(START, status="", text="Hm, so")
    recast = replace(answer, text="", thinking="Hm, so")
    assert frames(answer, recast, replace(answer, text="A", thinking="Hm, so."))[1:] == [
        {"kind": "recast"}, {"kind": "thinking", "text": "."}, {"kind": "answer", "text": "A"},
    ]  # fmt: skip


def test_the_last_frame_has_the_whole_answer_and_its_figures() -> None:
    text = "<ref>cup</ref><box>(0.1,0.2),(0.3,0.4)</box>"
    stats = Stats(prompt_tokens=9, answer_tokens=3, seen=(Seen("a.png", 10, 10, 100, 100),))
    (_, last) = frames(replace(START, status="", text=text, thinking="Hm", finish="end", stats=stats))[-2:]
    assert (last["kind"], last["text"], last["thinking"], last["finish"]) == ("done", text, "Hm", "end")
    assert last["stats"] == {
        "prompt_tokens": 9,
        "answer_tokens": 3,
        "remarks": ["“a.png” seen at 10 × 10 of 100 × 100"],
    }


def test_an_answer_that_goes_on_is_told_by_what_is_new_and_whole_at_the_end() -> None:
    begun = Message("assistant", "A c", thinking="Hm", finish="stopped")
    start = replace(begun, status="Starting", finish=None)
    states = [start, replace(start, status="", text="A cup"), replace(start, status="", text="A cup.", finish="end")]
    said = [frame for several in changes((Conversation((one,)) for one in states), begun=begun) for frame in several]
    assert [one["kind"] for one in said] == ["waiting", "answer", "answer", "done"]
    assert (said[1]["text"], said[-1]["text"], said[-1]["thinking"]) == ("up", "A cup.", "Hm")
    seconds = [
        one.messages[-1].stats for one in timed((Conversation((one,)) for one in states), clock=Mock(), begun=begun)
    ]
    assert seconds == [None] * 3  # the thought was over before


def test_a_failure_keeps_what_was_said_before_it() -> None:
    text = replace(START, status="", text="Half")
    last = frames(text, replace(text, error="Out of memory.", finish="error"))[-1]
    assert (last["kind"], last["sentence"], last["text"]) == ("failed", "Out of memory.", "Half")
    assert failed("No.")["sentence"] == "No." and figures(None) is None


def test_half_characters_become_marks() -> None:
    assert frames(replace(START, status="", text="a\ud800b"))[-1]["text"] == "a?b"
