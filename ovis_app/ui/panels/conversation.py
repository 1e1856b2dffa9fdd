"""The conversation, and what stands in its place while it is empty. Output only: no event reads it."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

import gradio as gr

from ovis_app.zoo import Example, ModelSpec

LATEX: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]

_TAG = re.compile(r"</?\w+>")  # <ref>…</ref> is for the model; the card is for people


def build(spec: ModelSpec, examples: tuple[Example, ...], *, folder: Path) -> gr.Chatbot:
    """The chatbot with the empty page inside it."""
    return gr.Chatbot(
        elem_id="conversation",
        show_label=False,
        container=False,
        height="100%",
        scale=1,
        layout="bubble",
        group_consecutive_messages=False,
        latex_delimiters=LATEX,
        buttons=["copy"],
        feedback_options=None,
        allow_file_downloads=False,
        placeholder=welcome(spec),
        examples=cards(examples, folder),
    )


def offered(spec: ModelSpec, folder: Path) -> tuple[Example, ...]:
    """The model's examples whose files are there and that it can answer."""
    return tuple(
        example
        for example in spec.examples
        if all((folder / name).is_file() for name in example.media) and _answers(spec, example)
    )


def _answers(spec: ModelSpec, example: Example) -> bool:
    clip = any(name.endswith(".mp4") for name in example.media)
    return (
        (spec.thinking or not example.thinking)
        and (bool(spec.boxes_suffix) or not example.boxes)
        and (spec.video or not clip)
        and (spec.several_images or len(example.media) < 2)
    )


def subject(spec: ModelSpec) -> str:
    """What questions to this model may be about."""
    pictures = "pictures" if spec.several_images else "a picture"
    return f"{pictures} or a clip" if spec.video else pictures


def welcome(spec: ModelSpec) -> str:
    """The empty page's words."""
    hint = (
        "<p>The full-size models answer on this page too: start it with <code>--model Ovis2.5-2B</code>, or choose one "
        "at the top where that is offered</p>"
        if spec.bundled
        else ""
    )
    return f"<h2>Ask about {subject(spec)}</h2>\n<p>{escape(spec.about)}</p>\n{hint}"


def cards(examples: tuple[Example, ...], folder: Path) -> list[gr.chatbot.ExampleMessage] | None:  # type: ignore[name-defined]
    """The examples as the chatbot shows them."""
    return [_card(example, folder) for example in examples] or None


def _card(example: Example, folder: Path) -> gr.chatbot.ExampleMessage:  # type: ignore[name-defined]
    shown = _TAG.sub("", example.text)
    return {
        "text": example.text,
        "display_text": f"{example.label}\n{shown}" if example.label else shown,
        "files": [str(folder / name) for name in example.media],
    }
