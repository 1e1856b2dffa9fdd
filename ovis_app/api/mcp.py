"""The Model Context Protocol: the endpoints as tools for agents, which Gradio serves.

Knows whether what that takes is installed; imports nothing of it.
"""

from __future__ import annotations

from importlib.util import find_spec

from ovis_app.errors import BackendError

MISSING = (
    "--mcp needs the extra `mcp`, which isn't installed: run `pip install 'ovis-app[mcp]'` (in a checkout "
    "`pip install '.[mcp]'`)."
)


def require() -> None:
    """Raises BackendError where the extra `mcp` isn't installed."""
    if find_spec("mcp") is None:
        raise BackendError(MISSING)
