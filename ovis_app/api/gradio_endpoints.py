"""Endpoints for gradio_client: one question, about files that were uploaded.

Takes the page's road, chat.reply. Knows no panel, and nothing of what a tab is in the middle of.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import gradio as gr

from ovis_app import chat
from ovis_app.backend import Backend
from ovis_app.conversation import Conversation, Message
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.media import attach_all


def add(backend: Backend, limits: Limits, *, at_once: int) -> None:
    """Adds the endpoints to the Blocks whose context this is called in."""
    question = gr.Textbox(visible=False, label="question")
    files = gr.File(visible=False, label="files", file_count="multiple")
    text = gr.Textbox(visible=False, label="answer")
    trigger = gr.Button(visible=False)

    def ask(question: str, files: list[str] | None) -> Generator[str, None, None]:
        """Asks one question about pictures or a clip; the answer grows."""
        paths = [Path(path) for path in files or ()]
        defaults = backend.status().model.defaults
        for message in answered(question, paths, backend=backend, settings=defaults, limits=limits):
            if message.error:
                raise gr.Error(message.error, print_exception=False)
            yield message.text

    trigger.click(
        ask,
        [question, files],
        text,
        api_name="chat",
        show_progress="hidden",
        concurrency_id="answers",  # the page's
        concurrency_limit=at_once,
    )


def answered(
    question: str, files: Sequence[Path], *, backend: Backend, settings: GenerationSettings, limits: Limits
) -> Iterator[Message]:
    """One question's answer as it grows. Closing this stops it."""
    media, refused = attach_all([(path, path.name) for path in files], limits)
    if refused:
        yield Message("assistant", error=" ".join(refused), finish="error")
        return
    asked = Conversation((Message("user", question, media),))
    with closing(chat.reply(backend, Request(asked, settings))) as states:
        for state in chat.paced(states):
            yield state.messages[-1]
