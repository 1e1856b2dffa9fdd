"""All components of the page, and how they stand for a model.

Knows panels and models; refuses to know events, and what a tab is in the middle of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ovis_app import bundled
from ovis_app.backend import Status
from ovis_app.settings import Settings
from ovis_app.ui.controls import SPLIT, SWITCHES, all_knobs, recommended
from ovis_app.ui.panels import composer, conversation, drawer, header, models
from ovis_app.ui.static_files import StaticFiles
from ovis_app.zoo import ModelSpec

EXAMPLES = bundled.folder("examples")


@dataclass(frozen=True)
class Components:
    header: header.Header
    models: models.Models
    view: conversation.View
    composer: composer.Composer
    drawer: drawer.Drawer
    model: gr.State  # the ModelSpec that the controls stand for
    read: gr.State  # why a change came to nothing, once the panel that says so was opened or closed

    def settings_inputs(self) -> dict[str, Any]:
        """What sets how to answer, by the name of the setting."""
        d = self.drawer
        return {**d.sliders, **self.composer.switches, "system": d.system, "split": d.split, "drop_old_turns": d.drop}

    @property
    def controls(self) -> list[Any]:
        """What every change of the model may change."""
        d, c = self.drawer, self.composer
        return [self.header.model, *c.switches.values(), *d.sections.values(), *d.sliders.values(), d.split]

    def controls_for(self, spec: ModelSpec) -> dict[Any, Any]:
        """`controls` as they stand for a model: what it can't use goes, what it can stands at its own values."""
        knobs = all_knobs(spec)
        sections = {knob.section for knob in knobs if knob.offered(spec)}
        return {
            self.header.model: spec.name,
            **{
                self.composer.switches[switch.name]: gr.update(visible=switch.offered(spec), value=False)
                for switch in SWITCHES
            },
            self.drawer.split: gr.update(visible=SPLIT.offered(spec)),
            **{column: gr.update(visible=title in sections) for title, column in self.drawer.sections.items()},
            **{
                self.drawer.sliders[knob.name]: gr.update(
                    visible=knob.offered(spec), minimum=knob.low, maximum=knob.high, step=knob.step,
                    value=recommended(spec, knob),
                )
                for knob in knobs
            },
        }  # fmt: skip


def build(status: Status, settings: Settings, static: StaticFiles) -> Components:
    """The components, standing for the model that answers."""
    spec = status.model
    return Components(
        header=header.build(status, sign_out=settings.sign_in, open_to_all=settings.open_to_all),
        models=models.build(status),
        view=conversation.build(static),
        composer=composer.build(spec),
        drawer=drawer.build(spec),
        model=gr.State(spec),
        read=gr.State(""),
    )
