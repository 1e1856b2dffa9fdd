"""Who calls an endpoint of Gradio's: by which of its ways, as which client, and whether they are still there.

Knows Gradio's requests, and that a tool's call has less of one. Refuses to know what is asked.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from ovis_app.media.file_store import session_holder
from ovis_app.request_id import NO_ID, RequestId


def is_queued(request: gr.Request) -> bool:
    """Whether Gradio's queue asks, which takes one value after another. Whoever calls past it (a tool's call, a direct
    POST) gets the first value and no other."""
    return isinstance(request, gr.Request) and ("/queue/" in request.url.path or "/call/" in request.url.path)


def holder(request: gr.Request) -> str:
    """Whose files a call brings: its session's, if it has one."""
    queued = isinstance(request, gr.Request) and "/queue/" in request.url.path
    return session_holder(request.session_hash) if queued else ""


def id_of(request: object) -> RequestId:
    """What the request is called in the log."""
    number = getattr(getattr(request, "state", None), "request_id", NO_ID)
    return number if isinstance(number, RequestId) else NO_ID


def client(request: gr.Request) -> str:
    """Who asks, for the line: where they are, if that is known; else a session of Gradio's clients, whose name anybody
    may make up, or all that have none, together."""
    visitor = getattr(getattr(request, "state", None), "visitor", "")
    if visitor:
        return f"address:{visitor}"
    session = isinstance(request, gr.Request) and "/queue/" in request.url.path
    return f"page:{request.session_hash}" if session else "programs"


async def left(request: gr.Request) -> bool:
    """Whether a direct POST's sender is gone. A tool's call is cancelled instead."""
    return isinstance(request, gr.Request) and request.request is not None and await request.request.is_disconnected()


def forget(request: gr.Request) -> None:
    """Has Gradio forget the session that it made for this call alone, once that is over: it would keep 200 of them,
    with 160 kB each."""
    if not isinstance(request, gr.Request) or request.request is None or "/call/" not in request.url.path:
        return
    holder: Any = request.request.app.state_holder
    with holder.lock:
        for kept in (holder.session_data, holder.time_last_used):
            kept.pop(request.session_hash, None)
