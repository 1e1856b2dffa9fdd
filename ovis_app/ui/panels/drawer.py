"""The settings: closed at first, with the model's recommended values and a line on what each does."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import gradio as gr

from ovis_app.ui.controls import DROP, SPLIT, Knob, all_knobs, recommended
from ovis_app.zoo import ModelSpec


@dataclass(frozen=True)
class Drawer:
    close: gr.Button
    sections: dict[str, gr.Column]  # by their titles; a section goes when none of its knobs is offered
    sliders: dict[str, gr.Slider]  # by the name of the setting
    split: gr.Checkbox
    drop: gr.Checkbox
    system: gr.Textbox
    reset: gr.Button


def build(spec: ModelSpec) -> Drawer:
    """The drawer's components: all that there are, of which those show that this model can use."""
    sliders: dict[str, gr.Slider] = {}
    sections: dict[str, gr.Column] = {}
    with gr.Column(elem_id="drawer", elem_classes="side"):
        close = head("Settings", "close-settings")
        for title, rows in groupby(all_knobs(spec), key=lambda knob: knob.section):
            knobs = list(rows)
            with gr.Column(visible=any(knob.offered(spec) for knob in knobs), elem_classes="section") as sections[
                title
            ]:
                gr.HTML(f"<h3>{title}</h3>")
                for knob in knobs:
                    sliders[knob.name] = _slider(knob, spec)
        split = gr.Checkbox(
            label=SPLIT.label, info=SPLIT.about, elem_id="split-pictures", container=False, visible=SPLIT.offered(spec)
        )
        gr.HTML("<h3>Conversation</h3>")
        drop = gr.Checkbox(label=DROP.label, info=DROP.about, elem_id="drop-old-turns", container=False)
        system = gr.Textbox(
            label="System prompt",
            info="Told to the model before the conversation begins.",
            placeholder="You are a careful assistant…",
            lines=3,
            max_lines=10,
            elem_id="system",
        )
        reset = gr.Button("Reset to recommended", elem_id="reset", size="sm")
    return Drawer(close, sections, sliders, split, drop, system, reset)


def head(title: str, close: str) -> gr.Button:
    """A side panel's first line: its title and the button that closes it."""
    with gr.Row(elem_classes="side-head"):
        gr.HTML(f"<h2>{title}</h2>")
        return gr.Button(f"Close {title.lower()}", elem_id=close, elem_classes="quiet icon close", size="sm")


def _slider(knob: Knob, spec: ModelSpec) -> gr.Slider:
    slider = gr.Slider(
        knob.low,
        knob.high,
        value=recommended(spec, knob),
        step=knob.step,
        label=knob.label,
        info=knob.about,
        elem_id=f"knob-{knob.name}",
        elem_classes="knob",
        buttons=[],
        visible=knob.offered(spec),
    )
    # Passes on what it is given: what isn't sane becomes a sentence where the answer would be, not a trace in the log.
    # Not a subclass, since Gradio would write a stub file beside this one for that.
    slider.preprocess = lambda payload: payload  # type: ignore[method-assign]
    return slider
