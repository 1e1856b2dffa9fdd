"""On a Space whatever is asked is answered with the table, on ZeroGPU in one call for a GPU, of whoever asks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ovis_app import chat
from ovis_app.backends.gpu_time import CARDS
from ovis_app.conversation import Conversation, Message
from ovis_app.doctor import gpu
from ovis_app.doctor.backend import ANOTHER, NO_CHANGE, ExaminingBackend, open_examining
from ovis_app.doctor.finding import Finding
from ovis_app.errors import BackendError
from ovis_app.generation import Answer, GenerationSettings, Request, Waiting
from ovis_app.limits import Limits
from ovis_app.models import memory_speed
from ovis_app.settings import Settings
from ovis_app.stop import Stop
from ovis_app.zoo import MINI
from tests.stand_ins import spaces

ASKED = Request(Conversation((Message("user", "How do you do?"),)), GenerationSettings())


def answer(backend: ExaminingBackend) -> Message:
    *_, last = chat.reply(backend, ASKED)
    return last.messages[-1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="ZeroGPU forks")
def test_the_table_comes_of_one_call_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    monkeypatch.setattr(memory_speed, "BLOCK", {"cpu": 1 << 20})
    settings = Settings(model=MINI.id, device="cpu", dtype="float32", zerogpu=True)
    backend = open_examining(settings, Limits())
    before = len(spaces.workers)
    said = answer(backend)
    assert not said.error and len(spaces.workers) == before + 1
    assert spaces.asked[-1] == (CARDS["large"].most, "large")
    for name in ("resize filter", "chat template", "device", "counting", "engine", "memory at work"):
        assert f"\nok      {name:20}" in said.text, said.text
    assert f"of {CARDS['large'].most} that were asked for" in said.text
    assert "nothing is remembered between questions here" in said.text and "DIFFERS" not in said.text
    with pytest.raises(BackendError, match=NO_CHANGE):
        backend.change("Ovis2.5-2B")
    spaces.refusal = (
        "ZeroGPU quota exceeded",
        "You have exceeded your free ZeroGPU quota (80s requested vs. 12s left). ",
    )
    refused = answer(backend)
    spaces.refusal = None
    assert "12 s left" in refused.error and "resize filter" in refused.text
    backend.close()


def test_looks_come_one_at_a_time_are_stopped_within_and_tell_no_name() -> None:
    looking = list[str]()

    def look(note: Callable[[str], None], stop: Stop) -> Iterator[Finding]:
        looking.append("begun")
        yield Finding("files", "failed", "The weights in /home/someone/secret are damaged")
        while not stop.is_set():  # a load, a long answer
            time.sleep(0.01)
        looking.append("ended")
        stop.check()

    def told(events: Iterator[object]) -> str:
        """Until a line of the table, or that another look is under way."""
        text = ""
        for event in events:
            text += event.text if isinstance(event, Answer) else ""
            if "files" in text or event == Waiting(ANOTHER):
                return text or ANOTHER
        raise AssertionError(text)

    backend = ExaminingBackend(MINI, look, ["/home/someone/secret"])
    first, second = backend.stream(ASKED), backend.stream(ASKED)
    assert "in the model are damaged" in told(first)
    assert told(second) == ANOTHER and looking == ["begun"]
    first.close()  # type: ignore[attr-defined]
    assert "files" in told(second) and looking == ["begun", "ended", "begun"]
    backend.close()
    assert looking[-1] == "ended"


def test_more_seconds_than_were_asked_for_are_named() -> None:
    assert gpu.gpu_seconds(41, 80).verdict == "ok"
    late = gpu.gpu_seconds(90, 80)
    assert late.verdict == "differs" and "90 of 80" in late.found


def test_elsewhere_it_is_a_setting_too_and_needs_a_model_here(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    backend = open_examining(Settings(model=str(tmp_path), device="cpu", doctor=True), Limits())
    said = answer(backend)
    assert "FAILED  config" in said.text and said.text.endswith("couldn't be judged.")
    backend.close()
    with pytest.raises(BackendError, match="--backend local"):
        open_examining(Settings(backend="fake", doctor=True), Limits())
