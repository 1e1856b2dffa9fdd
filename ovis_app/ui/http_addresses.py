"""An address that a client gives as a file is fetched by nobody: Gradio would fetch it, past every limit.

Knows Gradio's download hooks. Refuses to know what is asked.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio import processing_utils

from ovis_app.ui.http_named_files import NO_ADDRESSES


async def refuse_address(url: str, *_: object, **__: object) -> Any:
    """Stands where Gradio would fetch it."""
    raise gr.Error(NO_ADDRESSES, print_exception=False)


def install() -> None:
    """Makes Gradio refuse addresses. Looked up by it at each call, so replacing the names is enough."""
    processing_utils.async_ssrf_protected_download = refuse_address
    processing_utils.async_ssrf_protected_get = refuse_address
