"""Options that events share, and what the tab shows after one: values by the component that shows them."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any

import gradio as gr

from ovis_app.generation import MAX_TEXT
from ovis_app.media.file_store import FileStore
from ovis_app.ui import handlers, render
from ovis_app.ui.components import Components
from ovis_app.ui.handlers import Draft, Tab

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
AT_ONCE: dict[str, Any] = PRIVATE | {"queue": False}  # events that only touch the page
DONE = "() => window.ovis.checking(false)"  # all that follows from a question, or from its refusal, is over

Updates = dict[Any, Any]  # by component
NOTHING: Updates = gr.skip()


def shown(parts: Components, tab: Tab, draft: Draft | None = None) -> Updates:
    """Everything that follows from a tab. `draft` is what the composer should hold; None leaves it alone."""
    composer = parts.composer
    busy = handlers.awaiting(tab.conversation)
    can = gr.update(interactive=tab.conversation.last_user() is not None and not busy)
    box: dict[str, Any] = {"submit_btn": not busy, "stop_btn": busy}
    if draft is not None:
        box["value"] = {"text": draft.text, "files": [_uploaded(path, name) for path, name in draft.files]}
    notice = "Editing your question. Sending it replaces the answer." if tab.editing is not None else tab.notice
    return {
        parts.tab: tab,
        parts.chatbot: render.messages(tab.conversation),
        composer.box: gr.update(**box),
        composer.notice: f'<p role="status">{render.escaped(notice)}</p>' if notice else "",
        composer.leave_edit: gr.update(visible=tab.editing is not None),
        composer.regenerate: can,
        composer.edit: can,
        composer.undo: can,
    }


def draft_in(value: dict[str, Any] | None, store: FileStore) -> Draft:
    """What the composer holds, its files by the names that their owner gave them."""
    value = value or {}
    files = tuple((Path(path), store.name_of(Path(path))) for path in value.get("files") or ())
    text = (value.get("text") or "")[: MAX_TEXT + 1]  # more can't be typed; it would be kept while an edit lasts
    return Draft(text, files)


def _uploaded(path: Path, name: str) -> gr.FileData:
    return gr.FileData(path=str(path), orig_name=name, mime_type=mimetypes.guess_type(name)[0])
