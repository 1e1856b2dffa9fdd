"""Where questions are written: the box, the switches that change an answer's nature, and what to do with the last
question."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ovis_app.generation import MAX_TEXT
from ovis_app.ui.controls import SWITCHES
from ovis_app.ui.panels.conversation import subject
from ovis_app.zoo import ModelSpec


@dataclass(frozen=True)
class Composer:
    notice: gr.HTML
    leave_edit: gr.Button
    box: gr.MultimodalTextbox
    brought: gr.Textbox  # the paths of the files in the box, a line each, which nobody sees
    switches: dict[str, gr.Checkbox]  # by the name of the setting
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
            label="Your question",
            show_label=False,
            container=False,
            placeholder=prompting(spec),
            file_count="multiple",  # of any type: what isn't a picture or a clip is refused by name, in a sentence
            lines=1,
            max_lines=8,
            max_plain_text_length=MAX_TEXT,
            submit_btn=True,
            stop_btn=False,
        )
        brought = gr.Textbox(elem_id="brought", visible="hidden")
        with gr.Row(elem_id="actions"):
            switches = {
                switch.name: gr.Checkbox(
                    label=switch.label, value=False, elem_id=f"switch-{switch.name}", elem_classes="switch",
                    container=False, visible=switch.offered(spec),
                )
                for switch in SWITCHES
            }  # fmt: skip
            regenerate = _action("Regenerate", "regenerate")
            edit = _action("Edit", "edit")
            undo = _action("Undo", "undo")
    return Composer(notice, leave_edit, box, brought, switches, regenerate, edit, undo)


def prompting(spec: ModelSpec) -> str:
    """What stands in the empty box."""
    return f"Ask about {subject(spec)}…"


def _action(label: str, name: str) -> gr.Button:
    return gr.Button(label, elem_id=name, elem_classes="quiet", size="sm", interactive=False)
