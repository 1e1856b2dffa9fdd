"""The line at the top: whose page this is, which model answers, what it is doing, and the buttons of the whole page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Literal

import gradio as gr

from ovis_app.backend import Status

OPEN_TO_ALL = "Nobody has to sign in here: whoever has this address can use the page."
SIGN_OUT = '<form method="post" action="logout"><button class="quiet">Sign out</button></form>'
PUT_ASIDE = "put aside"
NOT_CHANGED = "the new model can't be loaded"


@dataclass(frozen=True)
class Header:
    library: gr.Button
    model: gr.Button
    status: gr.HTML
    timer: gr.Timer
    failure: gr.Row
    why: gr.HTML
    load_again: gr.Button
    new_chat: gr.Button
    language: gr.Button
    theme: gr.Button
    settings: gr.Button


def build(status: Status, *, sign_out: bool, open_to_all: bool) -> Header:
    """The header's components; where people sign in, also the way out, and where nobody has to, a line that says so."""
    with gr.Row(elem_id="header"):
        library = gr.Button("Conversations", elem_id="library", elem_classes="quiet icon", size="sm")
        gr.HTML("<h1>Ovis</h1>", elem_id="title")
        model = gr.Button(status.model.name, elem_id="model", elem_classes="quiet", size="sm")
        pill = gr.HTML(pill_of(status, ""), elem_id="status")
        new_chat = gr.Button("New chat", elem_id="new-chat", elem_classes="quiet", size="sm")
        language = gr.Button("中文", elem_id="language", elem_classes="quiet", size="sm")
        theme = gr.Button("Light or dark", elem_id="theme", elem_classes="quiet icon", size="sm")
        settings = gr.Button("Settings", elem_id="settings", elem_classes="quiet icon", size="sm")
        if sign_out:
            gr.HTML(SIGN_OUT, elem_id="sign-out")
    if open_to_all:
        gr.HTML(f"<p>{OPEN_TO_ALL}</p>", elem_id="open-to-all")
    with gr.Row(elem_id="not-loaded", visible=bool(status.why)) as failure:
        why = gr.HTML(why_of(status))
        load_again = gr.Button("Try again", elem_id="load-again", size="sm")
    failed = (failure, why, load_again)
    return Header(library, model, pill, gr.Timer(next_look(status)), *failed, new_chat, language, theme, settings)


def why_of(status: Status) -> str:
    """Why the model can't be loaded, as HTML."""
    return f'<p role="alert">{escape(status.why)}</p>' if status.why else ""


def pill_of(status: Status, read: str) -> str:
    """The pill for a state: a change under way, or a failed one until its sentence was `read`, comes first. Whether it
    is answering shows in the conversation, so here that counts as ready."""
    if status.change is not None:
        return status_pill("busy", status.change.words)
    if status.problem not in ("", read):
        return status_pill("failed", NOT_CHANGED)
    if status.phase in ("ready", "answering"):
        return status_pill("calm", "ready" + servers_of(status))
    if status.phase == "unloaded":
        return status_pill("calm", PUT_ASIDE + servers_of(status), about=status.words)
    return status_pill("failed" if status.phase == "failed" else "busy", status.words, about=status.why)


def servers_of(status: Status) -> str:
    """Which servers are up, behind a state; nothing where there are none."""
    words = {True: "up", False: "down", None: "not asked yet"}
    listed = ", ".join(f"{server.name} {words[server.up]}" for server in status.servers)
    return f" · {listed}" if listed else ""


def status_pill(state: Literal["calm", "busy", "failed"], words: str, *, about: str = "") -> str:
    """A state in words and a dot; the words carry the meaning, the dot only underlines it. `about` says more of it to
    whoever points at it."""
    title = escape(about or words)
    return f'<span class="pill {state}" role="status" title="{title}"><i></i>{escape(words)}</span>'


def next_look(status: Status) -> float:
    """Seconds until the state is worth asking for again."""
    if status.change is not None:
        return 0.5
    return {"ready": 15.0, "answering": 15.0, "unloaded": 5.0}.get(status.phase, 1.5)
