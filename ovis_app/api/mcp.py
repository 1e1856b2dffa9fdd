"""The Model Context Protocol: the endpoints as tools for agents, which Gradio serves.

Knows whether what that takes is installed, and imports nothing of it.
"""

from __future__ import annotations

from importlib.util import find_spec

import gradio as gr

from ovis_app.errors import BackendError

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


def tools_alone(page: gr.Blocks) -> None:
    """Takes all but tools off the server of a page that was launched with one."""
    if page.mcp_server_obj is None:
        return
    handlers = page.mcp_server_obj.mcp_server.request_handlers
    for kind in [one for one in handlers if one.__name__ not in ANSWERED]:
        del handlers[kind]
