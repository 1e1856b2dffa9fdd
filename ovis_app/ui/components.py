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
from ovis_app.ui.panels import conversation, header, models
from ovis_app.ui.static_files import StaticFiles
from ovis_app.zoo import ModelSpec

EXAMPLES = bundled.folder("examples")


@dataclass(frozen=True)
class Components:
    header: header.Header
    models: models.Models
    view: conversation.View
    model: gr.State  # the ModelSpec that is told of
    read: gr.State  # why a change came to nothing, once the panel that says so was opened or closed

    @property
    def controls(self) -> list[Any]:
        """What every change of the model may change. The settings follow in the browser, by what it is told."""
        return [self.header.model, self.models.about]

    def controls_for(self, spec: ModelSpec) -> dict[Any, Any]:
        """`controls` as they stand for a model."""
        return {self.header.model: spec.name, self.models.about: models.card(spec)}


def build(status: Status, settings: Settings, static: StaticFiles) -> Components:
    """The components, standing for the model that answers."""
    return Components(
        header=header.build(status, sign_out=settings.sign_in, open_to_all=settings.open_to_all),
        models=models.build(status, own=settings.backend != "remote"),  # a server has its list alone
        view=conversation.build(static),
        model=gr.State(status.model),
        read=gr.State(""),
    )
