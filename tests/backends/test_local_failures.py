"""Whatever happens in the local backend's thread, the reader hears of it in a sentence and the next question is
answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from ovis_app.backends.local.backend import LocalBackend
from ovis_app.conversation import Media
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.generation import GenerationSettings
from ovis_app.limits import Limits
from ovis_app.models.ovis import Ovis
from ovis_app.request_id import RequestId
from ovis_app.settings import Settings
from tests.backends.local_asking import CHECKPOINT, answer, ask, backend, long_answers, picture
from tests.waiting import until

__all__ = ["backend", "long_answers", "picture"]  # fixtures


@pytest.mark.parametrize("where", [(Ovis, "embed"), (Ovis, "encode"), (ModelRunner, "run")])
def test_an_exception_in_the_thread_is_a_sentence_and_the_next_question_works(
    backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[type, str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    path = tmp_path / "new.png"  # to this backend too: nothing of it is remembered
    Image.new("RGB", (90, 60 + len(where[1])), "blue").save(path)
    picture = Media("image", path, "new.png")

    def broken(*args: object, **options: object) -> object:
        raise RuntimeError("secret /path/to/weights")

    with monkeypatch.context() as patch:
        patch.setattr(*where, broken)
        message = answer(backend, replace(ask("What?", picture), id=RequestId("3f9a01bc")))
    assert message.finish == "error" and "failed while answering" in message.error
    assert "secret" not in message.error and "number when you report it: 3f9a01bc" in message.error
    assert any("3f9a01bc" in line.getMessage() and line.exc_info for line in caplog.records)  # with its cause
    assert answer(backend, ask("What?", picture)).error == ""


def test_out_of_memory_says_what_to_lower(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(ModelRunner, "run", full)
        assert "lower max pixels" in answer(backend, ask("What?")).error
    assert answer(backend, ask("What?")).error == ""


def test_out_of_memory_gives_everything_back(
    backend: LocalBackend, picture: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(backend, ask("What?", picture))
    session = backend._session
    assert session is not None and session.engine is not None and session._encoder.cache.bytes
    with monkeypatch.context() as patch:
        patch.setattr(ModelRunner, "run", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
        answer(backend, ask("What else?", picture))
    until(lambda: not backend._answers.busy)
    assert session.engine.blocks.held == 0 and session._encoder.cache.bytes == 0


def test_the_deadline_ends_an_answer(long_answers: list[int]) -> None:
    hasty = LocalBackend(Settings(model=str(CHECKPOINT), device="cpu", deadline=0.3), Limits())
    answer(hasty, ask("warm up"))
    message = answer(hasty, ask("for ever", settings=GenerationSettings(max_new_tokens=60000)))
    assert "too long" in message.error


def test_a_prompt_over_the_context_is_refused_with_its_length(backend: LocalBackend) -> None:
    message = answer(backend, ask("word " * 39_000))
    assert "tokens long" in message.error and "new chat" in message.error


def test_a_missing_picture_is_named(backend: LocalBackend, tmp_path: Path) -> None:
    message = answer(backend, ask("What?", Media("image", tmp_path / "gone.png", "holiday.png")))
    assert "holiday.png" in message.error and str(tmp_path) not in message.error


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"max_new_tokens": float("nan")}, "max_new_tokens"),
        ({"max_new_tokens": 10**400}, "max_new_tokens"),
        ({"max_new_tokens": True}, "max_new_tokens"),
        ({"max_new_tokens": 10**9}, "max_new_tokens"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 2.0}, "top_p"),
        ({"seed": "abc"}, "seed"),
        ({"frames": 7.5}, "frames"),
        ({"thinking": "yes"}, "thinking"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(backend: LocalBackend, changes: dict, named: str) -> None:
    message = answer(backend, ask("Hello", settings=GenerationSettings(**changes)))
    assert message.finish == "error" and named in message.error


def test_too_small_a_limit_for_thinking_is_said(backend: LocalBackend) -> None:
    settings = GenerationSettings(max_new_tokens=20, thinking=True, thinking_budget=10)
    assert "Thinking needs room" in answer(backend, ask("Hello", settings=settings)).error
