"""A thought that comes as raw text is taken apart, wherever a server cuts its chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovis_app.backends.remote.thought import ThoughtSplitter
from ovis_app.chat import grown
from ovis_app.conversation import Conversation, Message


def read(pieces: list[str], *, thinking: bool) -> tuple[str, str]:
    splitter = ThoughtSplitter(thinking=thinking)
    talk = Conversation((Message("assistant"),))
    for events in [*map(splitter.feed, pieces), splitter.flush()]:
        for event in events:
            talk = grown(talk, event)
    return talk.messages[-1].thinking, talk.messages[-1].text


CASES = [
    ("<think>\nI look.\n</think>\n\nA cat.", True, "I look.\n", "A cat."),
    ("\n<think>I look.</think>A cat.", True, "I look.", "A cat."),
    ("I look.\n</think>\n\nA cat.", True, "I look.\n", "A cat."),
    ("A cat.", True, "", "A cat."),
    ("<think>I was cut", True, "I was cut", ""),
    ("<think>a</think>b</think>c<think>", True, "a", "b</think>c<think>"),
    ("<thin line> and </thin", True, "", "<thin line> and </thin"),
    ("A tag </think> ends a thought.", False, "", "A tag </think> ends a thought."),
    ("<think>it thinks all the same</think>A cat.", False, "it thinks all the same", "A cat."),
    ("Then <think> is text.", True, "", "Then <think> is text."),
    ("", True, "", ""),
    ("<", True, "", "<"),
]


@pytest.mark.parametrize(("text", "thinking", "thought", "answer"), CASES)
def test_thought_and_answer_are_apart(text: str, thinking: bool, thought: str, answer: str) -> None:
    assert read([text], thinking=thinking) == (thought, answer)
    assert read(list(text), thinking=thinking) == (thought, answer), "letter by letter"


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<", "/", "think>", "\n", "a", " b"]), max_size=8).map("".join),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_cuts_change_nothing(text: str, thinking: bool, random: object) -> None:
    pieces, left = [], text
    while left:
        cut = random.randint(1, 5)  # type: ignore[attr-defined]
        pieces, left = [*pieces, left[:cut]], left[cut:]
    assert read(pieces, thinking=thinking) == read([text], thinking=thinking)


def test_text_is_shown_as_it_comes() -> None:
    """Only what may be the beginning of a mark waits."""
    splitter = ThoughtSplitter(thinking=True)
    assert [len(splitter.feed(piece)) for piece in ("A cat", " sits", " <", "b", "</thi", "s")] == [1, 1, 1, 1, 0, 1]
