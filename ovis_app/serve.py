"""Starts the app: settings -> backend -> page -> launch. The only file that knows both ends.

Parses flags before it imports anything heavy. Refuses to know who calls: `ovis serve`, `python app.py` or a Space.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO, cast

from ovis_app.backend import Backend
from ovis_app.errors import UserError
from ovis_app.frozen_imports import importing
from ovis_app.settings import Flags, Settings, add_arguments, read


def open_page(settings: Settings) -> tuple[Any, dict[str, Any], Backend]:
    """The page (a gr.Blocks), its launch options and the backend behind it. Imports Gradio, after the flags were read.
    Raises UserError."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    with importing():
        from ovis_app.api import gradio_endpoints, mcp
        from ovis_app.api.openai.routes import routes
        from ovis_app.backends import open_backend
        from ovis_app.backends.fair_queue import FairQueue
        from ovis_app.ui import page
        from ovis_app.ui.http_hosts import visitors

    if settings.mcp:
        mcp.require()
    allow_connections()
    limits = settings.limits()
    opened = open_backend(settings, limits, late=True)
    # One line for all who ask: the page, programs through Gradio, and /v1.
    backend = FairQueue(opened, limits, at_once=settings.at_once, most_waiting=settings.queue_size)
    demo = page.build(backend, settings, limits)
    gradio_endpoints.add(demo, backend, limits, uploads=page.uploads(), at_once=settings.asked_at_once)
    options = page.launch_options(settings, limits)
    options["app_kwargs"]["routes"] = routes(backend, settings, limits, address=visitors(settings))
    return demo, options, backend


def allow_connections() -> None:
    """As many open connections as the system lets us have: with the usual 1,024, one stranger who opened as many and
    said nothing kept everybody out. Not on Windows."""
    try:
        import resource
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says that there is no limit, and has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class ShortWrites:
    """A stream that takes only so much at once: what strangers sent and makes no sense is printed by Gradio, whole."""

    most = 4_000  # characters

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        rest = len(text) - self.most
        return self._stream.write(text if rest <= 0 else f"{text[: self.most]}… and {rest:,} characters more\n")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def main(arguments: Sequence[str] | None = None, *, program: str | None = None) -> int:
    """Serves the page until it is told to stop. `program` is how it was called. Returns the exit code."""
    parser = Flags(program, description="Chat with an Ovis vision language model.")
    add_arguments(parser)
    try:
        settings = read(parser.parse_args(arguments))
    except ValueError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    refusal = unlistenable(settings)
    if refusal:
        print(f"{parser.prog}: {refusal}", file=sys.stderr)
        return 1
    ending = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ending.set())
    log, sys.stderr = sys.stderr, cast(TextIO, ShortWrites(sys.stderr))
    own = None if "GRADIO_TEMP_DIR" in os.environ else tempfile.mkdtemp(prefix="ovis-")
    if own:
        os.environ["GRADIO_TEMP_DIR"] = own
    try:
        return serve(settings, ending)
    finally:
        sys.stderr = log
        if own:
            shutil.rmtree(own, ignore_errors=True)


def unlistenable(settings: Settings) -> str:
    """Why nothing can listen where the page should, as a sentence; empty where it can."""
    try:
        found = socket.getaddrinfo(settings.server_name, settings.port, type=socket.SOCK_STREAM)
        with socket.create_server(found[0][4][:2], family=found[0][0]):
            return ""
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"port {settings.port} is taken: name another with --port, or end what listens there."
        return f"nothing can listen on {settings.server_name}:{settings.port}: name another address or port."


def serve(settings: Settings, ending: threading.Event) -> int:
    """Launches, warms the backend up once the page is there, and waits."""
    try:
        page, options, backend = open_page(settings)
    except UserError as error:
        print(f"ovis serve: {error}", file=sys.stderr)
        return 1
    from ovis_app.api import mcp  # there by now

    try:
        _, url, public = page.launch(**options, prevent_thread_lock=True, quiet=True)
        mcp.tools_alone(page)
    except OSError as error:
        print(f"The page can't open on {settings.server_name}:{settings.port}: {error}", file=sys.stderr)
        return 1
    print(f"Ovis is ready on {public or url}", flush=True)
    backend.warm()
    ending.wait()
    page.close(verbose=False)
    backend.close()
    return 0
