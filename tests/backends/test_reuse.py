"""What was computed once is not computed again, and nobody can tell from the answers."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from ovis_app import chat
from ovis_app.backends.local import LocalBackend
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.generation import GenerationSettings, Request
from ovis_app.media import Limits
from ovis_app.models.ovis import Ovis
from ovis_app.settings import Settings

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


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(4))
def test_any_course_of_a_conversation_gives_the_same_answers(family: str, seed: int, pictures: list[Media]) -> None:
    """Random sends, edits, regenerations, new pictures and switches of thinking."""
    ours, plain = backends(family)
    rng = random.Random(f"{family} {seed}")
    talk = Conversation()
    for step in range(6):
        settings = replace(SHORT, thinking=rng.random() < 0.4)
        move = rng.choice(["send", "send", "picture", "edit", "again"]) if talk.messages else "picture"
        if move in ("edit", "again"):
            asked = talk.last_user() or 0
            question = talk.messages[asked]
            text = question.text if move == "again" else f"{question.text} now"
            talk = talk.until(asked).add(replace(question, text=text))
        else:
            full = family == "ovis1.6" and talk.messages  # trained on one picture a conversation
            media = (rng.choice(pictures),) if move == "picture" and not full else ()
            talk = talk.add(Message("user", f"Question {step}?", media))
        expected = answered(plain, talk, settings)
        talk = answered(ours, talk, settings)
        assert talk.messages[-1].text == expected.messages[-1].text
        assert talk.messages[-1].thinking == expected.messages[-1].thinking


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
    model = backend._model().model
    lengths: list[int] = []
    hook = model.llm.model.register_forward_pre_hook(
        lambda _, __, inputs: (
            lengths.append(inputs["inputs_embeds"].shape[1]) if inputs.get("inputs_embeds") is not None else None
        ),
        with_kwargs=True,
    )
    talk = answered(backend, talk.add(Message("user", "And then?")), SHORT)
    hook.remove()
    assert len(encoded) == 1, "the picture was encoded again"
    stats = talk.messages[-1].stats
    assert stats is not None
    assert lengths[0] < stats.prompt_tokens - stats.visual_tokens, "the picture was read again"


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
    assert 0 < backend._prefixes.bytes <= 200_000
    assert len(backend._reader.cache._seen) == 1
