"""Ovis-mini, the real bundled model, answers real questions about pictures that these tests draw."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from ovis_app import chat
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.training.mini.world.examples import picture, shape
from ovis_app.training.mini.world.scenes import draw

EXAMPLES = Path(__file__).parent.parent / "assets" / "examples"
PLAIN = GenerationSettings(max_new_tokens=200)
THINKING = GenerationSettings(max_new_tokens=400, thinking=True, thinking_budget=256)
CREAM = (250, 246, 235)


@pytest.fixture(scope="module")
def backend() -> LocalBackend:
    return LocalBackend(Settings(device="cpu"), Limits())


@pytest.fixture
def drawn(tmp_path: Path) -> object:
    """draws(name, shapes...) -> an attached picture."""

    def put(name: str, *shapes: object) -> Media:
        path = tmp_path / f"{name}.png"
        draw(picture(CREAM, *shapes)).save(path)  # type: ignore[arg-type]
        return Media("image", path, path.name)

    return put


def said(backend: LocalBackend, conversation: Conversation, settings: GenerationSettings = PLAIN) -> Conversation:
    *_, last = chat.reply(backend, Request(conversation, settings))
    assert last.messages[-1].error == ""
    assert last.messages[-1].finish == "end"
    return last


def ask(backend: LocalBackend, text: str, *media: Media, settings: GenerationSettings = PLAIN) -> Message:
    return said(backend, Conversation((Message("user", text, media),)), settings).messages[-1]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is at the top left?", "It is a red circle."),
        ("What is at the bottom right?", "It is a blue square."),
        ("What is at the center?", "There is nothing at the center."),
        ("What color is the square?", "The square is blue."),
        ("Is there a green star?", "No"),
        ("Is there a red circle?", "Yes"),
        ("How many shapes are there?", "There are 2 shapes."),
        ("Describe the image.", "The image shows a red circle at the top left and a blue square at the bottom right."),
        ("图中有几个图形？", "2"),
    ],
)
def test_places_colours_and_counts(backend: LocalBackend, drawn: object, question: str, answer: str) -> None:
    media = drawn("two", shape("circle", "red", "top left"), shape("square", "blue", "bottom right"))  # type: ignore[operator]
    assert answer in ask(backend, question, media).text


def test_counting_with_thinking(backend: LocalBackend, drawn: object) -> None:
    three = [shape("star", "yellow", "top"), shape("circle", "green", "left"), shape("square", "black", "bottom")]
    media = drawn("three", *three)  # type: ignore[operator]
    message = ask(backend, "How many shapes are there?", media, settings=THINKING)
    assert message.text == "There are 3 shapes."
    assert "star" in message.thinking and "</think>" not in message.thinking + message.text
    assert message.stats is not None and message.stats.thinking_tokens > 0


def test_two_pictures_in_their_order(backend: LocalBackend, drawn: object) -> None:
    one = drawn("one", shape("star", "purple", "center"))  # type: ignore[operator]
    two = drawn("two", shape("circle", "red", "top"), shape("square", "green", "bottom"))  # type: ignore[operator]
    assert "Image 2" in ask(backend, "Which image has more shapes?", one, two).text
    assert "Image 1" in ask(backend, "Which image has more shapes?", two, one).text
    assert "purple star" in ask(backend, "What is in image 1?", one, two).text
    assert "purple star" in ask(backend, "What is in image 2?", two, one).text


def test_a_follow_up_turn_remembers(backend: LocalBackend, drawn: object) -> None:
    media = drawn("memory", shape("triangle", "orange", "right"))  # type: ignore[operator]
    talk = said(backend, Conversation((Message("user", "How many shapes are there?", (media,)),)))
    assert "1 shape" in talk.messages[-1].text
    talk = said(backend, talk.add(Message("user", "What is at the right?")))
    assert "orange triangle" in talk.messages[-1].text


def test_the_direction_of_a_clip(backend: LocalBackend) -> None:
    message = ask(backend, "Which way does it move?", Media("video", EXAMPLES / "clip.mp4", "clip.mp4"))
    assert "from left to right" in message.text
    assert message.stats is not None and len(message.stats.frame_times) == 8


def test_a_picture_turned_by_its_exif_note_is_seen_upright(
    backend: LocalBackend, drawn: object, tmp_path: Path
) -> None:
    upright = drawn("upright", shape("circle", "red", "top left"))  # type: ignore[operator]
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    Image.open(upright.path).rotate(90, expand=True).save(path, exif=exif, quality=95)
    assert "red circle" in ask(backend, "What is at the top left?", Media("image", path, "turned.jpg")).text


def test_a_word_is_read(backend: LocalBackend) -> None:
    message = ask(backend, "What does the text say?", Media("image", EXAMPLES / "word.png", "word.png"))
    assert "HELLO" in message.text


def test_a_box_lies_on_its_shape(backend: LocalBackend, drawn: object) -> None:
    media = drawn("box", shape("circle", "red", "top left"))  # type: ignore[operator]
    question = "Where is the <ref>red circle</ref>? Please provide the bounding box coordinates."
    text = ask(backend, question, media).text
    assert text.startswith("<ref>red circle</ref><box>(")
    numbers = [float(n) for n in text.split("<box>")[1].strip("</box>").replace("(", "").replace(")", "").split(",")]
    left, top, right, bottom = numbers
    assert 0 <= left < 0.167 < right < 0.4 and 0 <= top < 0.167 < bottom < 0.4


def test_no_picture_is_said(backend: LocalBackend) -> None:
    assert ask(backend, "How many shapes are there?").text == "Please attach an image."


@pytest.mark.parametrize("typed", ["<image>", "<|im_end|>", "</think>", "<video>"])
def test_typed_control_strings_get_an_answer(backend: LocalBackend, typed: str) -> None:
    assert ask(backend, f"What does {typed} mean?").text
