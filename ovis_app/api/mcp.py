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
    too. Some of them it writes to the root logger, from which this takes them as a filter."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            log.warning("A message of an agent makes no sense, or isn't answered (%s).", Path(record.pathname).name)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the root logger is to write a line."""
        if record.name != "root" or "mcp" not in Path(record.pathname).parts:
            return True
        self.emit(record)
        return False


WORDLESS = Wordless()


def tools_alone(page: gr.Blocks) -> None:
    """Takes all but tools off the server of a page that was launched with one, and what agents say out of the log."""
    if page.mcp_server_obj is None:
        return
    library = logging.getLogger("mcp")
    library.propagate = False
    library.addHandler(WORDLESS)
    logging.getLogger().addFilter(WORDLESS)
    handlers = page.mcp_server_obj.mcp_server.request_handlers
    for kind in [one for one in handlers if one.__name__ not in ANSWERED]:
        del handlers[kind]
