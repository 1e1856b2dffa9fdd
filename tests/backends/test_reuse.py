"""What was computed once is not computed again, and nobody can tell from the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image

from ovis_app import chat
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.engine.scheduler import Chunk
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.models.ovis import Ovis
from ovis_app.settings import Settings
from tests.waiting import until

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
FAMILIES = ["ovis2.5", "ovis2", "ovis1.6"]
SHORT = GenerationSettings(max_new_tokens=10, max_partition=4)


@cache
def backends(family: str) -> tuple[LocalBackend, LocalBackend]:
    """One that remembers everything, and one that reads everything every time."""
    folder = str(GOLDEN / family / "public-a" / "checkpoint")
    forgetful = Settings(model=folder, device="cpu", prefix_cache=0, visual_cache=0)
    return LocalBackend(Settings(model=folder, device="cpu"), Limits()), LocalBackend(forgetful, Limits())


def answered(backend: LocalBackend, conversation: Conversation, settings: GenerationSettings) -> Conversation:
    *_, last = chat.reply(backend, Request(conversation, settings))
    assert last.messages[-1].error == ""
    return last


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Media]:
    folder = tmp_path_factory.mktemp("pictures")
    media = []
    for number, color in enumerate(["red", "green", "blue"]):
        path = folder / f"{color}.png"
        Image.linear_gradient("L").resize((90 + 20 * number, 70)).convert("RGB").save(path)
        media.append(Media("image", path, path.name))
    return media


@dataclass(frozen=True)
class Move:
    """What a person does next."""

    kind: Literal["send", "picture", "again", "edit", "edit the first"]
    picture: int = 0
    thinking: bool = False

    def made(self, talk: Conversation, pictures: list[Media], number: int, *, one_picture: bool) -> Conversation:
        """The conversation up to and with the question to answer next."""
        asked = [index for index, message in enumerate(talk.messages) if message.role == "user"]
        if not asked or self.kind in ("send", "picture"):
            shown = not asked or (self.kind == "picture" and not one_picture)
            return talk.add(Message("user", f"Question {number}?", (pictures[self.picture],) if shown else ()))
        question = talk.messages[asked[0 if self.kind == "edit the first" else -1]]
        text = question.text if self.kind == "again" else f"{question.text} now"
        return talk.until(talk.messages.index(question)).add(replace(question, text=text))


moves = st.builds(
    Move,
    kind=st.sampled_from(["send", "send", "picture", "again", "edit", "edit the first"]),
    picture=st.integers(0, 2),
    thinking=st.booleans(),
)


@pytest.mark.parametrize("family", FAMILIES)
@examples(max_examples=8, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(course=st.lists(moves, min_size=3, max_size=6))
def test_any_course_of_a_conversation_gives_the_same_answers(
    family: str, pictures: list[Media], course: list[Move]
) -> None:
    """Nothing remembered, or pictures and prefixes."""
    ours, plain = backends(family)
    talk = Conversation()
    for number, move in enumerate(course):
        settings = replace(SHORT, thinking=move.thinking)
        talk = move.made(talk, pictures, number, one_picture=family == "ovis1.6")  # trained on one a conversation
        expected = answered(plain, talk, settings)
        found = answered(ours, talk, settings)
        assert found.messages[-1].text == expected.messages[-1].text
        assert found.messages[-1].thinking == expected.messages[-1].thinking
        talk = expected


@pytest.mark.parametrize("family", FAMILIES)
def test_a_second_turn_reads_only_what_is_new(
    family: str, pictures: list[Media], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted: pictures encoded, and tokens that go through the language model before the first new one."""
    encoded: list[int] = []
    whole = Ovis.encode

    def counting(self: Ovis, *arguments: Any, **options: Any) -> torch.Tensor:
        encoded.append(1)
        return whole(self, *arguments, **options)

    monkeypatch.setattr(Ovis, "encode", counting)
    folder = str(GOLDEN / family / "public-a" / "checkpoint")
    backend = LocalBackend(Settings(model=folder, device="cpu"), Limits())
    talk = answered(backend, Conversation((Message("user", "What is it?", (pictures[0],)),)), SHORT)
    assert len(encoded) == 1
    computed: list[int] = []
    run = ModelRunner.run

    def counted(self: ModelRunner, chunks: Sequence[Chunk]) -> torch.Tensor | None:
        computed.append(sum(chunk.tokens for chunk in chunks))
        return run(self, chunks)

    monkeypatch.setattr(ModelRunner, "run", counted)
    talk = answered(backend, talk.add(Message("user", "And then?")), SHORT)
    assert len(encoded) == 1, "the picture was encoded again"
    stats = talk.messages[-1].stats
    assert stats is not None
    assert computed[0] < stats.prompt_tokens - stats.visual_tokens, "the picture was computed again"


def test_old_pictures_keep_the_resolution_that_they_were_sent_with(pictures: list[Media]) -> None:
    backend, _ = backends("ovis2.5")
    small = replace(SHORT, min_pixels=1024, max_pixels=64 * 64)
    talk = answered(backend, Conversation((Message("user", "What is it?", (pictures[0],)),)), small)
    first = talk.messages[-1].stats
    talk = answered(backend, talk.add(Message("user", "And now?")), replace(SHORT, min_pixels=256 * 256))
    second = talk.messages[-1].stats
    assert first is not None and second is not None
    assert second.visual_tokens == first.visual_tokens


def test_the_memory_is_bounded(pictures: list[Media]) -> None:
    folder = str(GOLDEN / "ovis2.5" / "public-a" / "checkpoint")
    backend = LocalBackend(Settings(model=folder, device="cpu", prefix_cache=200_000, visual_cache=1), Limits())
    for number in range(5):
        answered(backend, Conversation((Message("user", f"{number} what?", (pictures[number % 3],)),)), SHORT)
    engine = backend._session.engine
    assert engine is not None
    until(lambda: not engine.blocks.held)
    assert 0 < engine.used_bytes <= 200_000
    assert len(backend._session._encoder.cache._encoded) == 1
