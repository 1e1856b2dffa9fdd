"""Memory that runs out is mended by itself where it can be, and the answer says what was lowered for it. On tiny
checkpoints whose machine has room for so many patches of a picture, or so many rows of a step, and no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from ovis_app import zoo
from ovis_app.backends.local import less_memory, model_pool
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.conversation import Conversation, Detail, Media, Message, Shortage, Stats
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.generation import Done, GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.models.ovis import Ovis
from ovis_app.settings import Settings
from tests.backends.test_model_switch import FOLDERS, SHORT, answer, ask

FULL = torch.OutOfMemoryError("full")


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBackend]:
    monkeypatch.setattr(model_pool, "_models", {})
    with closing(LocalBackend(Settings(model=str(FOLDERS["ovis2.5"]), device="cpu"), Limits())) as here:
        yield here


def picture(folder: Path, side: int) -> Media:
    path = folder / f"{side}.png"
    Image.linear_gradient("L").resize((side, side)).convert("RGB").save(path)
    return Media("image", path, path.name)


def room_for(monkeypatch: pytest.MonkeyPatch, patches: int) -> list[int]:
    """A tower with memory for so many patches at a time. How many each try had."""
    tries, whole = list[int](), Ovis.encode_many

    def encode_many(model: Ovis, parts: Sequence[Any], **options: Any) -> Any:
        tries.append(sum(len(part.values) for part in parts))
        if tries[-1] > patches:
            raise FULL
        return whole(model, parts, **options)

    monkeypatch.setattr(Ovis, "encode_many", encode_many)
    return tries


def test_a_picture_that_is_too_large_for_the_memory_is_looked_at_less_closely_and_that_is_said(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    large = picture(tmp_path, 1000)
    small = replace(large, detail=Detail(min_pixels=250_000, max_pixels=250_000))
    expected = answer(backend, ask("What?", small))
    assert backend._session is not None
    backend._session.evict()
    tries = room_for(monkeypatch, 1200)
    said = answer(backend, ask("What?", large))
    assert (said.error, said.text) == ("", expected.text) and said.stats is not None and expected.stats is not None
    assert said.stats.visual_tokens == expected.stats.visual_tokens < 300
    assert said.stats.remarks[-1] == "memory ran out: pictures seen at 500 × 500 pixels at most"
    assert expected.stats.shortage is None and len(tries) == 3  # once more with empty caches, then less closely


def test_what_cannot_be_lowered_further_ends_with_the_sentence_and_the_next_question_is_answered(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        tries = room_for(patch, 0)
        failed = answer(backend, ask("What?", picture(tmp_path, 1000)))
        assert "ran out of memory: lower max pixels" in failed.error and failed.text == ""
        assert 4 <= len(tries) <= 2 * (less_memory.STEPS + 1)
    again = answer(backend, ask("What?", picture(tmp_path, 200)))
    assert again.error == "" and again.stats is not None and again.stats.shortage is None


def test_a_prompt_is_read_in_smaller_pieces_and_that_is_said(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = ask("word " * 400)
    expected = answer(backend, long)
    assert expected.stats is not None and not expected.stats.remarks
    whole = ModelRunner.run

    def small_only(runner: ModelRunner, chunks: Sequence[Any]) -> Any:
        if sum(chunk.tokens for chunk in chunks) > 50:
            raise FULL
        return whole(runner, chunks)

    monkeypatch.setattr(ModelRunner, "run", small_only)
    said = answer(backend, ask("also " + "word " * 400))
    assert said.error == "" and said.stats is not None
    [remark] = said.stats.remarks
    assert remark.startswith("memory ran out: read in pieces of ") and said.stats.shortage is not None
    assert 0 < (said.stats.shortage.piece or 0) <= 50


def test_an_answer_that_was_begun_goes_on_where_memory_ran_out_for_a_moment(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answer(backend, ask("Hi"))
    whole, left = ModelRunner.run, [5]

    def once_full(runner: ModelRunner, chunks: Sequence[Any]) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise FULL
        return whole(runner, chunks)

    monkeypatch.setattr(ModelRunner, "run", once_full)
    said = answer(backend, ask("Hi"))
    assert left[0] < 0 and (said.error, said.text) == ("", expected.text) and said.stats is not None
    assert said.stats.remarks == ("memory ran out for a moment: nothing was left out",)


def test_tiles_and_frames_are_lowered_where_the_model_has_them(tmp_path: Path) -> None:
    asked, path = list[Request](), tmp_path / "clip.mp4"
    clip, shot = Media("video", path, "clip.mp4"), picture(tmp_path, 1000)
    spec = replace(zoo.resolve("Ovis2-1B"), defaults=GenerationSettings(frames=8))

    def attempt(request: Request) -> Done:
        asked.append(request)
        if len(asked) < 3:
            raise MemoryError
        return Done("end", Stats(shortage=Shortage(piece=64)))

    talk = Conversation(
        (Message("user", "One?", (shot,)), Message("assistant", "Yes."), Message("user", "Two?", (clip,)))
    )
    done = less_memory.answered(attempt, Request(talk, SHORT), spec, Limits(), may_begin_again=lambda: True)
    assert done.stats.shortage == Shortage(piece=64, max_partition=2, frames=2)
    assert "read in pieces of 64 tokens, pictures seen in at most 2 tiles, clips seen by" in done.stats.remarks[0]
    details = [media.detail for message in asked[-1].conversation.messages for media in message.media]
    assert [(one.max_partition, one.frames) for one in details] == [(2, None), (1, 2)]
    assert [message.text for message in asked[-1].conversation.messages] == ["One?", "Yes.", "Two?"]


def test_what_was_said_is_not_said_again() -> None:
    tries = []

    def attempt(request: Request) -> Done:
        tries.append(request)
        raise FULL

    with pytest.raises(torch.OutOfMemoryError):
        less_memory.answered(attempt, ask("Hi"), zoo.MINI, Limits(), may_begin_again=lambda: False)
    assert len(tries) == 1
