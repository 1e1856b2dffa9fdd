"""Where the conversation is drawn, and what its empty page offers. The page's modules draw it, in one element."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from ovis_app.ui.static_files import StaticFiles
from ovis_app.zoo import Example, ModelSpec

# What knows more than the model that comes with the app, for whoever may choose the model and for whoever may not.
CHOOSE = "For photos and documents choose a full-size model"
START = "For photos and documents start this page with a full-size model: --model Ovis2.5-2B"
# Gradio calls this once, when its element is there.
_START = """
import(new URL({main}, document.baseURI)).then((page) => page.start(element));
"""
_TELL = """
const tell = () => { if (props.value) window.ovis.put('facts', JSON.parse(props.value)); };
watch('value', tell);
tell();
"""


@dataclass(frozen=True)
class View:
    here: gr.HTML  # the conversation, its box and the switches
    facts: gr.HTML  # what is told to what draws them, and nobody sees


def build(static: StaticFiles) -> View:
    """Both elements. What stands in the second is never drawn as HTML."""
    start = _START.format(main=json.dumps(f"{static.base}page/main.mjs"))
    here = gr.HTML(
        "", html_template="<div></div>", js_on_load=start, elem_id="view", apply_default_css=False, padding=False
    )
    facts = gr.HTML("", html_template="<i></i>", js_on_load=_TELL, elem_id="facts", apply_default_css=False)
    return View(here, facts)


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
