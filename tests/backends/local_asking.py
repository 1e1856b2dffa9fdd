"""The local backend on a tiny random checkpoint, and what is asked of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from ovis_app import chat
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.checkpoints import tokenizer
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.engine.answer import RunningAnswer
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings

CHECKPOINT = Path(__file__).parent.parent / "fixtures" / "golden" / "ovis2.5" / "public-a" / "checkpoint"


SHORT = GenerationSettings(max_new_tokens=8)


@pytest.fixture(scope="module")
def backend() -> LocalBackend:
    return LocalBackend(Settings(model=str(CHECKPOINT), device="cpu"), Limits())


def ask(text: str, *media: Media, settings: GenerationSettings = SHORT) -> Request:
    return Request(Conversation((Message("user", text, media),)), settings)


def answer(backend: LocalBackend, request: Request) -> Message:
    *_, last = chat.reply(backend, request)
    return last.messages[-1]


@pytest.fixture
def picture(tmp_path: Path) -> Media:
    path = tmp_path / "red.png"
    Image.new("RGB", (96, 64), "red").save(path)
    return Media("image", path, "red.png")


@pytest.fixture
def long_answers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """No answer ends by itself; counts the tokens that were generated."""
    counts: list[int] = []
    whole = RunningAnswer.take

    def counting(self: RunningAnswer, *arguments: object) -> bool:
        counts.append(len(self.sequence.generated))
        return whole(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(RunningAnswer, "take", counting)
    monkeypatch.setattr(tokenizer, "ending_of", lambda *_: Ending((703,), 608))
    return counts
