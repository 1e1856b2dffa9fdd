"""Where questions are written: the box, the two switches that change an answer's nature, and what to do with the last
question."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ovis_app.generation import MAX_TEXT
from ovis_app.ui.panels.conversation import subject
from ovis_app.zoo import ModelSpec


@dataclass(frozen=True)
class Composer:
    notice: gr.HTML
    leave_edit: gr.Button
    box: gr.MultimodalTextbox
    thinking: gr.Checkbox
    cot: gr.Checkbox
    regenerate: gr.Button
    edit: gr.Button
    undo: gr.Button


def build(spec: ModelSpec) -> Composer:
    """The composer's components."""
    with gr.Column(elem_id="composer"):
        with gr.Row(elem_id="notice-row"):
            notice = gr.HTML("", elem_id="notice")
            leave_edit = gr.Button("Cancel edit", elem_id="leave-edit", elem_classes="quiet", size="sm", visible=False)
        box = gr.MultimodalTextbox(
            elem_id="box",
            show_label=False,
            container=False,
            placeholder=f"Ask about {subject(spec)}…",
            file_count="multiple",  # of any type: what isn't a picture or a clip is refused by name, in a sentence
            lines=1,
            max_lines=8,
            max_plain_text_length=MAX_TEXT,
            submit_btn=True,
            stop_btn=False,
        )
        with gr.Row(elem_id="actions"):
            thinking = gr.Checkbox(
                label="Think", value=False, elem_id="think", elem_classes="switch", container=False,
                visible=spec.thinking,
            )  # fmt: skip
            cot = gr.Checkbox(
                label="Step by step", value=False, elem_id="cot", elem_classes="switch", container=False,
                visible=bool(spec.cot_suffix),
            )  # fmt: skip
            regenerate = _action("Regenerate", "regenerate")
            edit = _action("Edit", "edit")
            undo = _action("Undo", "undo")
    return Composer(notice, leave_edit, box, thinking, cot, regenerate, edit, undo)


def _action(label: str, name: str) -> gr.Button:
    return gr.Button(label, elem_id=name, elem_classes="quiet", size="sm", interactive=False)
