"""Answers about hand-made scenes are the true ones, in the forms that the page promises."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from ovis_app.training.mini.world import dialogues, media_talk, questions
from ovis_app.training.mini.world.questions import Speaker, Turn
from ovis_app.training.mini.world.scenes import Clip, Scene, Shape, Word

CIRCLE = Shape("circle", "red", 0, 30, 30, 20)
SQUARE = Shape("square", "blue", 4, 100, 100, 20)
STAR = Shape("star", "orange", 4, 100, 100, 20)
OTHER = Shape("circle", "white", 8, 170, 170, 20)
ONE = Scene(200, 200, (240, 240, 240), (STAR,))
TWO = Scene(200, 200, (200, 210, 220), (CIRCLE, SQUARE))
THREE = Scene(200, 200, (200, 210, 220), (CIRCLE, SQUARE, OTHER))
WORD = Scene(200, 200, (240, 240, 240), word=Word("K7Q", 50, 80, 32))


class Plain(random.Random):
    """Always the first wording and the first of what there is."""

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return seq[0]

    def random(self) -> float:
        return 0.5


def english() -> Speaker:
    return Speaker("en", Plain())


def chinese() -> Speaker:
    return Speaker("zh", Plain())


@pytest.mark.parametrize(
    ("ask", "scene", "answer"),
    [
        (questions.describe, TWO, "The image shows a red circle at the top left and a blue square at the center."),
        (questions.describe, WORD, 'The image shows the text "K7Q".'),
        (questions.count, THREE, "There are 3 shapes."),
        (questions.count, ONE, "There is 1 shape."),
        (questions.at, ONE, "It is an orange star."),
        (questions.color, TWO, "The circle is red."),
        (questions.color, THREE, "The circles are red and white."),
        (questions.exists, TWO, "Yes, there is a red circle at the top left."),
        (questions.where, TWO, "The red circle is at the top left."),
        (questions.text, WORD, 'The text says "K7Q".'),
        (questions.text, TWO, "There is no text in the image."),
        (questions.box, TWO, "<ref>red circle</ref><box>(0.05,0.05),(0.25,0.25)</box>"),
        (questions.shape_of, TWO, "The red shape is a circle."),
        (questions.count_of, THREE, "There are 2 circles."),
    ],
)
def test_answers_in_english(ask: Callable[[Scene, Speaker], Turn], scene: Scene, answer: str) -> None:
    assert ask(scene, english()).answer == answer


def test_nothing_is_said_to_be_where_nothing_is() -> None:
    turn = questions.at(TWO, english(), 2)
    assert (turn.question, turn.answer) == ("What is at the top right?", "There is nothing at the top right.")
    assert questions.color(TWO, english(), "star").answer == "There is no star."


def test_answers_in_chinese() -> None:
    assert questions.describe(TWO, chinese()).answer == "图中左上角有一个红色圆形，中间有一个蓝色正方形。"
    assert questions.count(THREE, chinese()).answer == "图中有3个形状。"
    assert questions.text(WORD, chinese()).answer == "图中的文字是“K7Q”。"


def test_a_thought_goes_row_by_row() -> None:
    thought = questions.count(TWO, english()).thought
    assert thought == "I look row by row. Top left: red circle. Center: blue square. That makes 2."


def test_several_images() -> None:
    assert media_talk.more([ONE, THREE], english()).answer == "Image 2 has more shapes: 3 against 1."
    assert media_talk.more([TWO, TWO], english()).answer == "They have the same number of shapes: 2."
    assert media_talk.more([ONE, THREE, TWO], english()).answer == "Image 2 has the most shapes: 3."
    assert media_talk.in_image([ONE, TWO], english(), 0).answer == "Image 1 shows an orange star at the center."
    assert media_talk.which([ONE, TWO], english()).answer == "The star is in image 1."


def test_clips() -> None:
    moving = Clip(TWO, "left", 50, 1, 8)
    assert (
        media_talk.about_clip(moving, Speaker("en", random.Random(3))).answer
        == "A red circle moves from right to left."
    )
    still = {
        media_talk.about_clip(Clip(TWO, "still", 0, 1, 8), Speaker("en", random.Random(i))).answer for i in range(20)
    }
    assert "A red circle stands still." in still


def test_the_first_question_is_quoted() -> None:
    for seed in range(40):
        turns = dialogues.talk(THREE, Speaker("en", random.Random(seed)))
        if turns[-1].kind == "first":
            assert turns[-1].answer == f'You first asked: "{turns[0].question}"'


def test_a_missing_picture_is_asked_for_and_the_switch_ends_the_answer() -> None:
    answers = {dialogues.chat(Speaker("en", random.Random(seed))).answer for seed in range(60)}
    assert "Please attach an image." in answers
    final = dialogues.final_form(questions.count(THREE, english()))
    assert final.question.endswith("\nEnd your response with 'Final answer: '.")
    assert final.answer == "There are 3 shapes.\nFinal answer: 3"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_wording_can_be_filled(language: str) -> None:
    rng = random.Random(language)
    for _ in range(300):
        say = Speaker(language, rng)
        for turn in (questions.any_turn(THREE, say), questions.any_turn(WORD, say), dialogues.chat(say)):
            assert turn.question and turn.answer and "{" not in turn.question + turn.answer + turn.thought
        media_talk.about_images([ONE, TWO, WORD], say)
        dialogues.talk(THREE, say)
        dialogues.talk_images([ONE, TWO], say)
