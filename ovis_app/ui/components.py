"""All components of the page.

Knows panels and models; refuses to know events, and what a tab is in the middle of.
"""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ovis_app import bundled
from ovis_app.backend import Status
from ovis_app.settings import Settings
from ovis_app.ui.panels import conversation, header, models
from ovis_app.ui.static_files import StaticFiles

EXAMPLES = bundled.folder("examples")


@dataclass(frozen=True)
class Components:
    header: header.Header
    models: models.Models
    view: conversation.View
    model: gr.State  # the ModelSpec that is told of
    read: gr.State  # why a change came to nothing, once the panel that says so was opened or closed


def build(status: Status, settings: Settings, static: StaticFiles) -> Components:
    """The components, standing for the model that answers."""
    return Components(
        header=header.build(status, sign_out=settings.sign_in, open_to_all=settings.open_to_all),
        models=models.build(status),
        view=conversation.build(static),
        model=gr.State(status.model),
        read=gr.State(""),
    )
