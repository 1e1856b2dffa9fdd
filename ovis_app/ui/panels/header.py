"""The line at the top: whose page this is, which model answers, what it is doing, and the buttons of the whole page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import gradio as gr

from ovis_app.zoo import ModelSpec


@dataclass(frozen=True)
class Header:
    status: gr.HTML
    timer: gr.Timer
    new_chat: gr.Button
    theme: gr.Button
    settings: gr.Button


def build(spec: ModelSpec, *, status: str) -> Header:
    """The header's components."""
    with gr.Row(elem_id="header"):
        gr.HTML(_title(spec), elem_id="title")
        pill = gr.HTML(status_pill(status), elem_id="status")
        new_chat = gr.Button("New chat", elem_id="new-chat", elem_classes="quiet", size="sm")
        theme = gr.Button("Light or dark", elem_id="theme", elem_classes="quiet icon", size="sm")
        settings = gr.Button("Settings", elem_id="settings", elem_classes="quiet icon", size="sm")
    return Header(pill, gr.Timer(2.0), new_chat, theme, settings)


def _title(spec: ModelSpec) -> str:
    name = escape(spec.name)
    if spec.link:
        name = f'<a href="{escape(spec.link)}" target="_blank" rel="noopener">{name}</a>'
    return f'<h1>Ovis</h1><span class="model">{name}</span>'


def status_pill(status: str) -> str:
    """The backend's state in words and a dot; the words carry the meaning, the dot only underlines it."""
    state = "ready" if status in ("ready", "idle") else "failed" if "fail" in status.lower() else "busy"
    return f'<span class="pill {state}" role="status" title="{escape(status)}"><i></i>{escape(status)}</span>'
