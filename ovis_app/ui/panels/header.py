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
    return Header(pill, gr.Timer(1.5), new_chat, theme, settings)


def _title(spec: ModelSpec) -> str:
    name = escape(spec.name)
    if spec.link:
        name = f'<a href="{escape(spec.link)}" target="_blank" rel="noopener">{name}</a>'
    return f'<h1>Ovis</h1><span class="model">{name}</span>'


def status_pill(status: str) -> str:
    """The backend's state in words and a dot; the words carry the meaning, the dot only underlines it. Whether it is
    answering shows in the conversation, so here that counts as ready."""
    words = "ready" if status == "answering" else status
    state = (
        "busy"
        if words.startswith(("Loading", "Downloading"))
        else "failed"
        if "can't" in words or "fail" in words
        else "calm"
    )
    return f'<span class="pill {state}" role="status" title="{escape(words)}"><i></i>{escape(words)}</span>'


def next_look(status: str) -> float:
    """Seconds until the state is worth asking for again."""
    return 15.0 if status in ("ready", "answering") else 1.5
