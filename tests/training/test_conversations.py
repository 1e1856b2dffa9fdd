"""Long conversations keep to the truth: what is numbered was attached, small talk gets its own answer at any turn."""

from __future__ import annotations

import random
import re

import pytest

from ovis_app.training.mini.world.conversations import Said, converse
from ovis_app.training.mini.world.phrases import TONGUES
from ovis_app.training.mini.world.scenes import Clip, Scene, random_clip, random_scene, random_word

MEDIA = [random_scene(random.Random("media")) for _ in range(5)]
MEDIA += [random_word(random.Random("media"))]
ALL = [*MEDIA, random_clip(random.Random("a")), random_clip(random.Random("b"))]


def talks(number: int = 120) -> list[list[Said]]:
    return [converse(ALL, random.Random(f"talk-{n}"), turns=12) for n in range(number)]


def test_an_image_that_is_named_by_number_was_attached() -> None:
    named = 0
    for talk in talks():
        images = 0
        for said in talk:
            images += sum(isinstance(ALL[n], Scene) for n in said.attached)
            for turn in (said.turn, *said.instead):
                for number in map(int, re.findall(r"(?:[Ii]mage |第)(\d)", turn.answer)):
                    if turn.kind not in ("first", "sure"):
                        assert 1 <= number <= images
                        named += 1
    assert named > 200


def test_nothing_is_attached_twice_and_pictures_and_clips_come_at_any_turn() -> None:
    turns: dict[type, set[int]] = {Scene: set(), Clip: set()}
    for talk in talks():
        attached = [n for said in talk for n in said.attached]
        assert len(attached) == len(set(attached)) and len(talk) == 12
        for turn, said in enumerate(talk):
            for n in said.attached:
                turns[type(ALL[n])].add(turn)
    assert turns[Scene] >= set(range(9)) and turns[Clip] >= set(range(9))


def test_small_talk_gets_its_own_answer_in_the_twelfth_turn_too() -> None:
    greetings = {
        question.lower() for row in TONGUES["en"].chat if "Hello" in row["asked"] for question in row["asked"]
    }  # fmt: skip
    last = [said.turn for talk in talks(400) for said in talk[9:] if said.turn.question.lower() in greetings]
    assert last and {turn.answer for turn in last} == {"Hello! Show me a simple drawing and ask me about it."}


def test_the_first_question_is_quoted_however_long_ago_it_was() -> None:
    quoted = 0
    for talk in talks():
        for said in talk[6:]:
            if said.turn.kind == "first":
                assert talk[0].turn.question in said.turn.answer
                quoted += 1
    assert quoted > 10


def test_both_languages_meet_in_one_conversation() -> None:
    mixed = [len({said.turn.answer.isascii() for said in talk}) == 2 for talk in talks()]
    assert any(mixed) and not all(mixed)


@pytest.mark.parametrize("media", [[], MEDIA[5:], [ALL[6]]], ids=["nothing", "a word", "a clip"])
def test_a_conversation_goes_on_whatever_there_is_to_attach(media: list[Scene | Clip]) -> None:
    for n in range(60):
        talk = converse(media, random.Random(n), turns=8)
        assert all(said.turn.question and said.turn.answer for said in talk)
