"""What a question is said to take before it is asked is what it takes: by generation, and told by sizes alone."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from ovis_app import chat
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.conversation import Conversation, Media, Message, Size
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.media import probe
from ovis_app.settings import Settings
from tests.golden_cases import BUNDLED
from tests.ui.serving import EXAMPLES

CLIP = Media("video", EXAMPLES / "clip.mp4", "clip.mp4")
GENERATIONS = ("ovis2.5", "ovis2", "ovis1.6")


@cache
def backend(generation: str) -> LocalBackend:
    checkpoint = BUNDLED / generation / "public-a" / "checkpoint"
    made = LocalBackend(Settings(model=str(checkpoint), device="cpu"), Limits())
    answered(made, asked("warm", []))
    return made


def asked(text: str, files: list[Media], **settings: object) -> Request:
    few = GenerationSettings(max_new_tokens=2, **settings)  # type: ignore[arg-type]
    return chat.stamped(Request(Conversation((Message("user", text, tuple(files)),)), few))


def told(request: Request) -> Request:
    """The same without files: they are told by their sizes."""
    return replace(
        request,
        conversation=Conversation(
            tuple(
                replace(one, media=tuple(replace(file, path=Path(), told=_size(file)) for file in one.media))
                for one in request.conversation.messages
            )
        ),
    )


def _size(file: Media) -> Size:
    if file.kind == "image":
        with Image.open(file.path) as picture:
            return Size(*picture.size)
    clip = probe(file, Limits())
    return Size(clip.width, clip.height, round(clip.duration * clip.fps))


def answered(model: LocalBackend, request: Request) -> Message:
    *_, last = chat.reply(model, request)
    assert not last.messages[-1].error, last.messages[-1].error
    return last.messages[-1]


def picture(folder: Path, width: int, height: int) -> Media:
    path = folder / f"{width}x{height}.png"
    Image.new("RGB", (width, height), "red").save(path)
    return Media("image", path, path.name)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_question_takes_what_was_said_before(generation: str, tmp_path: Path) -> None:
    model, rng, several = backend(generation), random.Random(generation), generation != "ovis1.6"
    sizes = [(32, 32), (33, 700), (640, 480), (90, 1300)]
    for number in range(6):
        files = [picture(tmp_path, *rng.choice(sizes)) for _ in range(rng.randint(1, 3) if several else 1)]
        settings = rng.choice([{}, {"max_pixels": 64 * 64, "max_partition": 3}, {"split": True, "max_pixels": 96 * 96}])
        request = asked(f"Which {'words ' * number}?", files, **settings)
        weight = model.weigh(told(request))
        assert weight is not None and len(weight.files) == len(files)
        stats = answered(model, request).stats
        assert stats is not None
        assert (weight.prompt, weight.visual) == (stats.prompt_tokens, stats.visual_tokens)
        assert sum(file.tokens for file in weight.files) == stats.visual_tokens
        seen = [(one.width, one.height) for one in stats.seen]
        assert weight.files[-1].seen == seen[-1]


@pytest.mark.parametrize("frames", [3, 200])
@pytest.mark.parametrize("generation", GENERATIONS[:2])
def test_a_clip_takes_what_was_said_before_and_no_more_frames_than_it_has(generation: str, frames: int) -> None:
    model, request = backend(generation), asked("Which way?", [CLIP], frames=frames)
    weight, count = model.weigh(told(request)), model.count(request)
    assert weight is not None and weight.prompt == count and 0 < weight.visual < count


def test_a_long_picture_is_weighed_in_its_pieces_and_what_was_left_out_is_told(tmp_path: Path) -> None:
    model = backend("ovis2.5")
    [file] = model.weigh(told(asked("Read.", [picture(tmp_path, 100, 1900)], split=True, max_pixels=96 * 96))).files
    assert file.pieces > 3 and file.tokens > 2 * file.pieces
    request = asked("Why?", [])
    talk = [Message("user", "word " * 300), Message("assistant", "yes"), *request.conversation.messages]
    whole = replace(request, conversation=Conversation(tuple(talk)))
    room = model.weigh(whole).room
    long = replace(whole, conversation=Conversation((Message("user", "☃" * room), *talk[1:])))
    assert model.weigh(long).prompt > room  # nothing is refused that is only weighed
    short = model.weigh(replace(long, settings=replace(request.settings, drop_old_turns=True)))
    assert (short.prompt, short.dropped) == (model.weigh(request).prompt, 1)


def test_what_fits_a_card_is_told_by_its_memory_alone() -> None:
    def fits(gigabytes: int) -> set[str]:
        return {one.model.name for one in backend("ovis2.5").offers_on(gigabytes * 10**9) if one.verdict == "fits"}

    small, large = fits(6), fits(80)
    assert "Ovis2.5-2B" not in small and "Ovis-mini" in small
    assert "Ovis2.5-2B" in fits(16) and "Ovis2.5-9B" in large and small < fits(16) < large


def test_nothing_is_known_of_a_model_that_is_not_loaded() -> None:
    waiting = LocalBackend(Settings(model=str(BUNDLED / "ovis2.5" / "public-a" / "checkpoint"), device="cpu"), Limits())
    assert waiting.weigh(asked("What?", [])) is None
    waiting.close()
