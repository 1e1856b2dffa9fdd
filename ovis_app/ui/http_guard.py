"""What a client may not do past the page: addresses as files, direct runs, headers that browsers need to hear.

Knows HTTP and Gradio's download hook. Knows nothing of conversations.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

import gradio as gr
from gradio import processing_utils

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NO_ADDRESSES = "Files must be uploaded; addresses are not fetched."
_HEADERS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # Pictures in a model's words may not call other hosts.
    (b"content-security-policy", b"img-src 'self' data: blob:; media-src 'self' data: blob:; object-src 'none'"),
)
# What people upload is shown, never run: a page or a drawing among it gets no script and no origin.
_FILE_HEADERS: Headers = (*_HEADERS[:2], (b"content-security-policy", b"sandbox; default-src 'none'"))


async def refuse_download(url: str, cache_dir: str) -> str:
    """Stands where Gradio would download an address that a client gave as a file."""
    raise gr.Error(NO_ADDRESSES, print_exception=False)


def install() -> None:
    """Makes Gradio refuse addresses. Looked up by it at each call, so replacing the name is enough."""
    processing_utils.async_ssrf_protected_download = refuse_download


class Guard:
    """Middleware: refuses what the page never asks for, and adds headers. Passes event streams through untouched."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _refused(unquote(scope["path"])):
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"Not found"})
            return

        headers = _FILE_HEADERS if "/file=" in scope["path"] else _HEADERS

        async def headed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        await self.app(scope, receive, headed)


def _refused(path: str) -> bool:
    after = path.partition("/file=")[2].lower()
    return after.startswith(("http:", "https:")) or "/pwa_icon" in path
