"""Starts the app: settings -> backend -> page -> launch. The only file that knows both ends.

Parses flags before it imports anything heavy. Refuses to know who calls: `ovis serve`, `python app.py` or a Space.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

from ovis_app import bounded_process, endings, logs, private_folder, proxies
from ovis_app.backend import Backend
from ovis_app.endings import Ending
from ovis_app.errors import UserError, visible
from ovis_app.frozen_imports import importing
from ovis_app.private_folder import PrivateFolder
from ovis_app.settings import Flags, Settings, add_arguments, read

TRACEBACK = "Traceback (most recent call last):"
CHAINED = ("\nThe above exception was the direct cause", "\nDuring handling of the above exception")
CLOSING_SECONDS = 1  # that requests have to end in, once the app is told to
SERVER_SECONDS = 1.5  # that the server has to end in with them
CLOSE_SECONDS = 2.5  # that the backend has to end in behind it
NOT_YET = "{name} isn't ready yet: questions on the page wait for it, and /readyz says when it is."
NO_LINK = "No public link could be opened: the page is at its own address alone."
NO_FOLDER = "No folder for temporary files can be written to: questions are answered, files aren't taken."


def open_page(
    settings: Settings, *, leaving: Callable[[], bool] = lambda: False
) -> tuple[Any, dict[str, Any], Backend]:
    """The page (a gr.Blocks), its launch options and the backend behind it. Imports Gradio, after the flags were read.
    `leaving` is whether the process is being ended. Raises UserError."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    proxies.prepare([settings.server_name])  # or else Gradio asks itself through them
    proxies.check()  # or else its import fails
    with importing():
        from ovis_app.api import gradio_endpoints, mcp
        from ovis_app.api.openai.routes import routes
        from ovis_app.api.operation import Operation
        from ovis_app.backends import open_backend
        from ovis_app.backends.fair_queue import FairQueue
        from ovis_app.ui import page
        from ovis_app.ui.http_hosts import visitors

    if settings.mcp:
        mcp.require()
    allow_connections()
    limits = settings.limits()
    if settings.doctor:
        from ovis_app.doctor.backend import open_examining

        opened: Backend = open_examining(settings, limits)
    else:
        opened = open_backend(settings, limits, late=True)
    operation = Operation(settings, leaving=leaving)
    # One line for all who ask: the page, programs through Gradio, and /v1.
    backend = FairQueue(opened, limits, at_once=settings.at_once, most_waiting=settings.queue_size, tell=operation.tell)
    store = page.store(limits)
    demo = page.build(backend, settings, limits, store, tell=operation.tell)
    gradio_endpoints.add(demo, backend, limits, store, at_once=settings.asked_at_once, tell=operation.tell)
    options = page.launch_options(settings, limits, store, tell=operation.tell)
    options["app_kwargs"]["routes"] += [
        *operation.routes(backend),
        *routes(backend, settings, limits, address=visitors(settings), tell=operation.tell),
    ]
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
    """A stream that takes only so much at once: what strangers sent and makes no sense is printed by Gradio, whole. Of
    the tracebacks that it prints, piece by piece, one line stays, without the error's words: they repeat what came in.
    Ours are logged, and come as one piece."""

    most = 4_000  # characters

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._trace = threading.local()  # where the last frame was, while a traceback is printed

    def write(self, text: str) -> int:
        if text.startswith(TRACEBACK):
            self._trace.place = ""
            return len(text)
        if text.startswith(CHAINED):
            return len(text)
        place = getattr(self._trace, "place", None)
        if place is not None and text.startswith("  "):
            self._trace.place = text.strip().partition("\n")[0]
            return len(text)
        if place is not None and text.strip():
            self._trace.place = None
            error = text.partition(":")[0].strip().partition("\n")[0]
            return self._stream.write(f"An event failed: {error[:200]} in {place or 'no file'}\n")
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
        print(f"{parser.prog}: {visible(str(error))}", file=sys.stderr)
        return 2
    try:
        settings = listening(settings)
    except UserError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    log, own, as_json = sys.stderr, None, settings.log_format == "json"
    if as_json:
        logs.start(log)
    with (
        endings.at_last(private_folder.remove_all),
        endings.at_last(bounded_process.end_all),
        Ending() as ending,
    ):
        try:
            own = own_folder()
            sys.stderr = cast(TextIO, ShortWrites(cast(TextIO, logs.Printed(log)) if as_json else log))
            code = serve(settings, ending)
        except UserError as error:  # to the operator, whatever else the log hides
            print(f"ovis serve: {error}", file=log)
            code = 1
        except SystemExit:
            if not ending.is_set():
                raise
            code = 0
        finally:
            sys.stderr = log
            if own is not None:
                own.close()
    if ending.is_set():
        endings.leave(code)
    return code


def own_folder() -> PrivateFolder | None:
    """Where everything temporary of this process lies from now on; None where nothing can be written."""
    try:
        own = PrivateFolder(Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()))
    except OSError:
        print(NO_FOLDER, file=sys.stderr)
        return None
    os.environ["GRADIO_TEMP_DIR"] = tempfile.tempdir = str(own.path)
    return own


def listening(settings: Settings) -> Settings:
    """The settings with a port that is free, for port 0 one of the system's choice. Raises UserError where nothing can
    listen there."""
    name, port = settings.server_name.removeprefix("[").removesuffix("]"), settings.port
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        with socket.create_server(found[0][4][:2], family=found[0][0]) as server:
            port = server.getsockname()[1]
        with socket.create_server(("127.0.0.1", port)):  # Gradio wants it there, too
            return replace(settings, server_name=name, port=port)
    except (OSError, UnicodeError) as error:  # the latter for what no host can be called
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            raise UserError(f"port {port} is taken: name another with --port, or end what listens there.") from error
        if number == errno.EACCES:
            raise UserError(f"port {port} may not be opened by you: name one above 1023 with --port.") from error
        raise UserError(
            f"nothing can listen on {_address(name, port)}, which isn't an address of this machine: name one with "
            "--server-name."
        ) from error


def _address(name: str, port: int) -> str:
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _tell_where(settings: Settings, address: str, backend: Backend, *, linked: bool) -> None:
    """Tells the operator where the page is, and what of it isn't there."""
    status = backend.status()
    late, unlinked = status.phase in ("starting", "loading"), settings.share and not linked
    if settings.log_format == "json":
        logs.take_over()
        logs.log.info("the page is on port %d", settings.port)
        if unlinked:
            logs.log.warning(NO_LINK)
        return
    lines = [f"The page is on {address}"]
    lines += [NOT_YET.format(name=status.model.name)] if late else []
    lines += [NO_LINK] if unlinked else []
    print(*lines, sep="\n", flush=True)


def serve(settings: Settings, ending: Ending) -> int:
    """Launches, warms the backend up once the page is there, and waits. Raises UserError where it can't open."""
    page, options, backend = open_page(settings, leaving=ending.is_set)
    from ovis_app.api import mcp
    from ovis_app.ui import http_heads

    ending.at_once = False
    try:
        _, url, public = page.launch(**options, prevent_thread_lock=True, quiet=True)
        mcp.tools_alone(page)
        http_heads.install(page.server.config)
        # Streams that are open when it ends are cut off, not waited for.
        page.server.config.timeout_graceful_shutdown = CLOSING_SECONDS
    except OSError as error:  # its text is advice for programs that use Gradio
        where = _address(settings.server_name, settings.port)
        raise UserError(f"the page can't open on {where}: name another port with --port.") from error
    _tell_where(settings, public or url.replace("//[::]:", "//[::1]:"), backend, linked=bool(public))
    if not ending.is_set():
        backend.warm()
    ending.wait()
    endings.within(SERVER_SECONDS, partial(page.close, verbose=False))
    bounded_process.end_all()
    endings.within(CLOSE_SECONDS, backend.close)
    return 0
