"""A reader that leaves or fails is nobody else's loss, and gives its blocks back at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import Tensor

from ovis_app.engine.engine import Engine
from tests.engine.driven import (
    LONG,
    LOREM,
    SHORT,
    Reader,
    Watched,
    drive,
    ended,
    engine,
    is_sentence,
    plainly,
    prompts,
    text,
)


class Broken(Reader):
    """Fails when it hears its third token, when it is asked, at the end, or when it hears how far its prompt is."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self.when = when

    def put(self, value: Tensor) -> None:
        super().put(value)
        if self.when == "put" and len(self.heard) == 3:
            raise OSError("odd")

    def end(self) -> None:
        if self.when == "end":
            raise OSError("odd")

    def __call__(self) -> bool:
        if self.when == "stop" and len(self.heard) == 3:
            raise OSError("odd")
        return False

    def progress(self, share: float) -> None:
        if self.when == "progress":
            raise OSError("odd")


@pytest.mark.parametrize("ahead", [False, True], ids=["at once", "while the next step is computed"])
@pytest.mark.parametrize("when", ["put", "end", "stop", "progress"])
def test_a_reader_that_fails_fails_alone(when: str, ahead: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "_ahead", ahead)
    asked = prompts(5)
    expected, broken = plainly(asked), Broken(when)
    driven = engine()
    heard = {"streamer": broken, "stop": broken, "progress": broken.progress}
    answers = [
        driven.add(written, SHORT, **(heard if number == 1 else {}))  # type: ignore[arg-type]
        for number, written in enumerate(asked)
    ]
    drive(driven, answers)
    found = [ended(answer) for answer in answers]
    assert is_sentence(found[1]) and found[:1] + found[2:] == expected[:1] + expected[2:]
    if ahead and when == "stop":  # it is asked before it hears of the last step
        assert broken.heard == expected[1][: len(broken.heard)] and len(broken.heard) in (3, 4)
        return
    assert broken.heard == expected[1][: {"end": None, "progress": 0}.get(when, 3)]
    assert driven.blocks.held == 0


def test_a_reader_that_fails_at_the_last_but_one_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last token may be chosen before that is known."""
    monkeypatch.setattr(Engine, "_ahead", True)
    driven, broken = engine(), Broken("put")
    answer = driven.add(text(), replace(SHORT, max_new_tokens=4), streamer=broken)
    drive(driven, [answer])
    assert is_sentence(ended(answer)) and len(broken.heard) == 3


def test_stop_lands_within_a_step_and_gives_the_blocks_back() -> None:
    driven = engine(block_size=4)
    stays, leaves = Reader(), Reader(3)
    kept = driven.add(text(), replace(SHORT, max_new_tokens=40), streamer=stays, stop=stays)
    gone = driven.add(text("Away with me."), LONG, streamer=leaves, stop=leaves)
    while len(leaves.heard) < 3:
        driven.step()
    held = driven.blocks.held
    driven.step()
    assert gone.over and leaves.ended and len(leaves.heard) == 3 == len(gone.wait()) and not kept.over
    assert driven.blocks.held < held
    drive(driven, [kept])
    assert driven.blocks.held == 0


def test_stop_lands_while_a_prompt_is_read() -> None:
    driven, leave = engine(chunk=7), list[bool]()
    answer = driven.add(text(LOREM * 8), LONG, stop=lambda: bool(leave))
    driven.step()
    driven.step()
    leave.append(True)
    driven.step()
    assert answer.over and answer.wait().tolist() == [] and driven.blocks.held == 0
    assert isinstance(driven.runner, Watched) and driven.runner.steps == [[7], [7]]
