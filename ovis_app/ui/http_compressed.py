"""The page itself and what it is made of, compressed on their way. Gradio compresses what has an ending that it knows,
and its page has none; the page's own files are compressed where they are kept (`static_files.py`).

Knows a few paths. Streams, events and files pass as they are.
"""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ovis_app.ui.http_answers import path_of

PATHS = frozenset({"/", "/config", "/config/", "/gradio_api/info", "/gradio_api/info/"})


class Compressed:
    """Between the guard and Gradio."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.zipped = GZipMiddleware(app, minimum_size=1000, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        whole = scope["type"] == "http" and scope["method"] == "GET" and path_of(scope)[0] in PATHS
        await (self.zipped if whole else self.app)(scope, receive, send)
