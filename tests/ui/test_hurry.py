"""A thought under way is ended by the tab that asked, by its name for the answer, and by nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ui.serving import Served, Wire


def hurried(wire: Wire, wants: Any) -> bool:
    answer = wire.http.post("/run/hurry", json={"data": [wants], "session_hash": wire.session})
    assert answer.status_code == 200
    return bool(answer.json()["data"][0]["ended"])


def test_the_tab_that_asked_ends_a_thought_and_others_do_not(wire: Wire, server: Served) -> None:
    server.backend.answer.clear(), server.backend.finish.clear()
    mine = {"session": wire.session, "answer": "answer-one"}
    asked = {**wire.asked("held"), "answer": "answer-one"}
    frames = wire.frames(str(wire.join(asked).json()["event_id"]))
    thought = next(one for one in frames if one["kind"] == "thinking")
    assert (thought["tokens"], thought["budget"]) == (5, 512)
    other = Wire(server)
    for wants in (
        {"session": other.session, "answer": "answer-one"},
        {**mine, "answer": "answer-two"},
        {**mine, "answer": ""},
    ):
        assert not hurried(other, wants)
    assert hurried(wire, mine)
    assert next(one for one in frames if one["kind"] == "answer")["text"] == "It is a circle. "
    server.backend.finish.set()
    *_, last = frames
    assert last["kind"] == "done" and not hurried(wire, mine)  # it is over
    server.backend.finish.clear()
    other.close()


@pytest.mark.parametrize(
    "wants",
    [None, [], "x", 5, {}, {"session": "../../x", "answer": "a"}, {"session": 5},
     {"session": "x" * 9, "answer": {"a": 1}}, {"session": "x" * 9, "answer": "a" * 10_000}],
)  # fmt: skip
def test_what_names_no_answer_ends_none(wire: Wire, wants: Any) -> None:
    assert not hurried(wire, wants)
