"""The settings: closed at first, with the model's recommended values and a line on what each does."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import gradio as gr

from ovis_app.ui.choices import Knob, knobs, recommended
from ovis_app.zoo import ModelSpec


@dataclass(frozen=True)
class Drawer:
    close: gr.Button
    sliders: dict[str, gr.Slider]  # by the name of the setting
    system: gr.Textbox
    reset: gr.Button


def build(spec: ModelSpec) -> Drawer:
    """The drawer's components."""
    sliders: dict[str, gr.Slider] = {}
    with gr.Column(elem_id="drawer"):
        with gr.Row(elem_id="drawer-head"):
            gr.HTML("<h2>Settings</h2>")
            close = gr.Button("Close settings", elem_id="close-settings", elem_classes="quiet icon", size="sm")
        for section, rows in groupby(knobs(spec), key=lambda knob: knob.section):
            gr.HTML(f"<h3>{section}</h3>")
            for knob in rows:
                sliders[knob.name] = _slider(knob, recommended(spec, knob))
        gr.HTML("<h3>Instructions</h3>")
        system = gr.Textbox(
            label="System prompt",
            info="Told to the model before the conversation begins.",
            placeholder="You are a careful assistant…",
            lines=3,
            max_lines=10,
            elem_id="system",
        )
        reset = gr.Button("Reset to recommended", elem_id="reset", size="sm")
    return Drawer(close, sliders, system, reset)


def _slider(knob: Knob, value: float) -> gr.Slider:
    slider = gr.Slider(
        knob.low,
        knob.high,
        value=value,
        step=knob.step,
        label=knob.label,
        info=knob.about,
        elem_id=f"knob-{knob.name}",
        elem_classes="knob",
        buttons=[],
    )
    # Passes on what it is given: what isn't sane becomes a sentence where the answer would be, not a trace in the log.
    # Not a subclass, since Gradio would write a stub file beside this one for that.
    slider.preprocess = lambda payload: payload  # type: ignore[method-assign]
    return slider
