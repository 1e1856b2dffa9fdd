"""The switches that change an answer's nature, below the box."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ovis_app.ui.controls import SWITCHES
from ovis_app.zoo import ModelSpec


@dataclass(frozen=True)
class Composer:
    switches: dict[str, gr.Checkbox]  # by the name of the setting


def build(spec: ModelSpec) -> Composer:
    """The composer's components."""
    with gr.Row(elem_id="actions"):
        switches = {
            switch.name: gr.Checkbox(
                label=switch.label, value=False, elem_id=f"switch-{switch.name}", elem_classes="switch",
                container=False, visible=switch.offered(spec),
            )
            for switch in SWITCHES
        }  # fmt: skip
    return Composer(switches)
