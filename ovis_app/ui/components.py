"""All components of the page, and how they stand for a model.

Knows panels and models; refuses to know events, and what a tab is in the middle of.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ovis_app.generation import Status
from ovis_app.ui.controls import SWITCHES, all_knobs, recommended
from ovis_app.ui.handlers import Tab
from ovis_app.ui.panels import composer, conversation, drawer, header, models
from ovis_app.zoo import ModelSpec

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"


@dataclass(frozen=True)
class Parts:
    header: header.Header
    models: models.Models
    chatbot: gr.Chatbot
    composer: composer.Composer
    drawer: drawer.Drawer
    tab: gr.State
    model: gr.State  # the ModelSpec that the controls stand for
    read: gr.State  # why a change came to nothing, once the panel that says so was opened or closed

    @property
    def shown(self) -> list[Any]:
        """What every change of the conversation may change."""
        c = self.composer
        return [self.tab, self.chatbot, c.box, c.notice, c.leave_edit, c.regenerate, c.edit, c.undo]

    def settings_inputs(self) -> dict[str, Any]:
        """What sets how to answer, by the name of the setting."""
        d = self.drawer
        return {**d.sliders, **self.composer.switches, "system": d.system, "drop_old_turns": d.drop}

    @property
    def controls(self) -> list[Any]:
        """What every change of the model may change, in the order of `controls_for`."""
        d, c = self.drawer, self.composer
        facts = [self.header.model, self.models.about, self.chatbot, c.box]
        return [*facts, *c.switches.values(), *d.sections.values(), *d.sliders.values()]


def build(status: Status) -> Parts:
    """The components, standing for the model that answers."""
    spec = status.model
    return Parts(
        header=header.build(status),
        models=models.build(status),
        chatbot=conversation.build(spec, conversation.offered(spec, EXAMPLES), folder=EXAMPLES),
        composer=composer.build(spec),
        drawer=drawer.build(spec),
        tab=gr.State(Tab()),
        model=gr.State(spec),
        read=gr.State(""),
    )


def controls_for(spec: ModelSpec) -> list[Any]:
    """`Parts.controls` as they stand for a model: what it can't use goes, what it can stands at its own values."""
    knobs = all_knobs(spec)
    welcome, cards = conversation.welcome(spec), conversation.cards(conversation.offered(spec, EXAMPLES), EXAMPLES)
    sections = dict.fromkeys(knob.section for knob in knobs)
    return [
        spec.name,
        models.card(spec),
        gr.Chatbot(placeholder=welcome, examples=cards),
        gr.update(placeholder=composer.prompting(spec)),
        *(gr.update(visible=switch.offered(spec), value=False) for switch in SWITCHES),
        *(
            gr.update(visible=any(knob.offered(spec) for knob in knobs if knob.section == section))
            for section in sections
        ),
        *(
            gr.update(
                visible=knob.offered(spec), minimum=knob.low, maximum=knob.high, step=knob.step,
                value=recommended(spec, knob),
            )
            for knob in knobs
        ),
    ]  # fmt: skip
