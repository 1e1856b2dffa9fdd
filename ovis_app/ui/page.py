"""The page: components, then wiring.

Holds no logic: what a button does is in wiring and the page's modules, how it looks in panels and static.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from ovis_app.backend import Backend
from ovis_app.limits import Limits
from ovis_app.media import with_copies
from ovis_app.media.file_store import FileStore
from ovis_app.outcomes import Tell, nobody
from ovis_app.settings import Settings
from ovis_app.ui import components, endpoints, http_guard, unread
from ovis_app.ui.components import EXAMPLES
from ovis_app.ui.fetching import Fetching
from ovis_app.ui.http_compressed import Compressed
from ovis_app.ui.static_files import FIRST, STATIC, StaticFiles
from ovis_app.ui.theme import theme
from ovis_app.ui.wiring import header, models

STYLES = ("tokens.css", "page.css", "conversation.css", "turns.css", "pictures.css", "words.css", "sidebar.css",
          "cost.css")  # fmt: skip
_VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1, interactive-widget=resizes-content">'
# The module that the page begins with; then what a browser shows of the page, and installs it by: with cookies, since
# where people sign in it isn't there without.
_APP = """
<link rel="modulepreload" href="{base}page/{first}">
<link rel="manifest" href="{base}app/manifest.webmanifest" crossorigin="use-credentials">
<link rel="icon" href="{base}app/icon.svg" type="image/svg+xml">
<link rel="apple-touch-icon" href="{base}app/icon-180.png">
<meta name="theme-color" content="#ffffff">
"""


def store(limits: Limits) -> FileStore:
    """The store of what people attach. It lies where Gradio would keep it, from where alone it takes files."""
    return FileStore(Path(get_upload_folder()), limits, show=with_copies)


def build(backend: Backend, settings: Settings, limits: Limits, store: FileStore, *, tell: Tell = nobody) -> gr.Blocks:
    """The page over this backend, whose files are kept in `store`. `tell` hears of refused uploads."""
    if store.folder:  # what endpoints answer with is served where it lies: otherwise Gradio would copy it
        gr.set_static_paths([store.folder])
    unread.install()
    static = StaticFiles.of(EXAMPLES)
    page: gr.Blocks = gr.Blocks(
        title="Ovis", fill_height=True, fill_width=True, analytics_enabled=False, delete_cache=(3600, 86400)
    )
    with page:
        whole = components.build(backend.status(), settings, static)
        header.wire(whole)
        models.wire(page, whole, backend, settings, limits, static)
    endpoints.add(page, backend, limits, store, version=static.version, settings=settings, tell=tell)
    page.queue(max_size=settings.asked_at_once, api_open=False)
    return page


def launch_options(settings: Settings, limits: Limits, store: FileStore, *, tell: Tell = nobody) -> dict[str, Any]:
    """What belongs to `launch()`: looks, limits, and what stays switched off. `tell` hears of refused uploads."""
    # In the head, since Gradio rewrites the selectors of `css`, and these are about the frame of the page too.
    name = settings.server_name
    static = StaticFiles.of(EXAMPLES)
    script, *styles = ((STATIC / name).read_text("utf-8") for name in ("page.js", *STYLES))
    head = _VIEWPORT + _APP.format(base=static.base, first=FIRST)
    return {
        "server_name": f"[{name}]" if ":" in name else name,  # Gradio makes an address of it
        "server_port": settings.port,
        "share": settings.share,
        "mcp_server": settings.mcp,  # said either way: else a variable of Gradio's decides
        "root_path": settings.root_path,
        "theme": theme(),
        "head": f"{head}<style>{''.join(styles)}</style><script>{script}</script>",
        "favicon_path": str(STATIC / "app" / "icon-192.png"),
        "max_file_size": max(limits.image_bytes, limits.video_bytes),
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "show_error": False,
        "ssr_mode": False,
        "state_session_capacity": 200,
        "max_threads": 40 + settings.asked_at_once,  # each answer holds one
        "app_kwargs": {
            "middleware": [http_guard.middleware(settings, limits, store, EXAMPLES, tell=tell), Middleware(Compressed)],
            "routes": [*static.routes(), *Fetching(store, limits, allowed=settings.allow_urls).routes()],
        },
    }
