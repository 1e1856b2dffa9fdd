"""The Model Context Protocol: the endpoints as tools for agents, which Gradio serves.

Knows whether what that takes is installed, and imports nothing of it.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path

import gradio as gr

from ovis_app.errors import BackendError

log = logging.getLogger(__name__)

MISSING = (
    "--mcp needs the extra `mcp`, which isn't installed: run `pip install 'ovis-app[mcp]'` (in a checkout "
    "`pip install -e '.[mcp]'`)."
)

# Requests that are answered, by the names of their types. What Gradio makes of prompts and resources, where there are
# none, runs an endpoint through a client of its own, which goes on when an agent has left.
ANSWERED = ("PingRequest", "ListToolsRequest", "CallToolRequest")


def require() -> None:
    """Raises BackendError where the extra `mcp` isn't installed."""
    if find_spec("mcp") is None:
        raise BackendError(MISSING)


class Wordless(logging.Handler):
    """What the library `mcp` logs, as a line of our own: its lines repeat what agents send, line breaks and questions
    too."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            log.warning("A message of an agent makes no sense, or isn't answered (%s).", Path(record.pathname).name)


WORDLESS = Wordless()


class OthersLines(logging.Filter):
    """Keeps from the root logger what the library in `folder` writes to it, some of its lines, and hands them on to
    WORDLESS."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != "root" or not Path(record.pathname).is_relative_to(self._folder):
            return True
        WORDLESS.handle(record)
        return False


def tools_alone(page: gr.Blocks) -> None:
    """Takes all but tools off the server of a page that was launched with one, and what agents say out of the log."""
    if page.mcp_server_obj is None:
        return
    library = logging.getLogger("mcp")
    library.propagate = False
    library.addHandler(WORDLESS)
    found = find_spec("mcp")
    if found is not None and found.origin is not None:
        logging.getLogger().addFilter(OthersLines(Path(found.origin).parent))
    handlers = page.mcp_server_obj.mcp_server.request_handlers
    for kind in [one for one in handlers if one.__name__ not in ANSWERED]:
        del handlers[kind]
