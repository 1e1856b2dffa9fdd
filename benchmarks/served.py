"""The page in this process, with a pulse: `python -m benchmarks.served --port N --rate 200` (or `--model FOLDER`).

The same page and launch options as the app's. `GET /pulse` tells how regularly the event loop has beaten since the last
look; `--rate` puts a scripted engine of that pace behind the page, `--model` a checkpoint.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ovis_app.backends.fake import FakeBackend
from ovis_app.conversation import Conversation, Message
from ovis_app.generation import Event, Request

BEAT = 0.005  # seconds that the loop is asked to sleep between two beats


class Pulse:
    """Beats on the event loop that serves the page; a handler that blocked it would show as a gap. Stands before the
    page's guard, which knows no such route."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.beats = 0
        self.worst = 0.0
        self._task: asyncio.Task[None] | None = None

    async def _beat(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(BEAT)
            now = time.perf_counter()
            self.beats, self.worst, last = self.beats + 1, max(self.worst, now - last - BEAT), now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "http" and scope["path"] == "/pulse"
        await (self.read() if asked else self.app)(scope, receive, send)

    def read(self) -> JSONResponse:
        """How many beats, and the longest that one came late in seconds; then counts from nothing again."""
        if self._task is None:
            self._task = asyncio.create_task(self._beat())
        found = {"beats": self.beats, "worst": self.worst}
        self.beats, self.worst = 0, 0.0
        return JSONResponse(found)


class ThreadedBackend(FakeBackend):
    """The scripted engine in a thread of its own, as the real one is: a page that is slow to ask doesn't hold it up.
    Only long answers keep its pace."""

    def stream(self, request: Request) -> Iterator[Event]:
        if "long" not in request.conversation.messages[-1].text:
            yield from FakeBackend().stream(request)
            return
        events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        left = threading.Event()

        def work() -> None:
            with closing(super(ThreadedBackend, self).stream(request)) as script:  # type: ignore[type-var]
                for event in script:
                    events.put(event)
                    if left.is_set():
                        break
            events.put(None)

        threading.Thread(target=work, daemon=True).start()
        try:
            while (event := events.get()) is not None:
                yield event
        finally:
            left.set()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", help="a checkpoint folder; without one a scripted engine answers")
    parser.add_argument("--rate", type=float, default=200.0, help="tokens per second of the scripted engine")
    parser.add_argument("--tokens", type=int, default=1200, help="length of its long answers")
    parser.add_argument("--eager", action="store_true", help="import everything and load the model before the page")
    options = parser.parse_args()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from ovis_app.backends import open_backend
    from ovis_app.limits import Limits
    from ovis_app.settings import Settings
    from ovis_app.ui import page

    settings = Settings(port=options.port, **({"model": options.model} if options.model else {"backend": "fake"}))
    limits = Limits()
    scripted = ThreadedBackend(delay=1 / options.rate, tokens=options.tokens)
    backend: Any = open_backend(settings, limits) if options.model else scripted
    if options.eager:
        importlib.import_module("moviepy")
        for _ in backend.stream(Request(Conversation((Message("user", "Hello"),)))):
            pass
    store = page.store(limits)
    launch = page.launch_options(settings, limits, store)
    launch["app_kwargs"]["middleware"].insert(0, Middleware(Pulse))
    page.build(backend, settings, limits, store).launch(**launch, quiet=True)


if __name__ == "__main__":
    main()
