"""How a file that somebody uploaded is sent back: the copy that people may see, as the picture or clip that its first
bytes say it is, or as bytes to save, and never as a page. Knows the store, the app's own folder, file types and
headers; refuses to go by a file's name.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import anyio
from starlette.responses import FileResponse, PlainTextResponse, Response

from ovis_app.errors import Busy
from ovis_app.media.file_store import FileStore
from ovis_app.media.file_types import HEAD, kind_of
from ovis_app.ui.aside import aside

# Whatever a browser makes of it, it has no origin, runs nothing and fetches nothing but itself.
FILE_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; media-src 'self'; frame-ancestors 'none'; sandbox",
}
BYTES = "application/octet-stream"


RETRY = {**FILE_HEADERS, "retry-after": "5"}


async def answer(path: str, store: FileStore, folder: Path, visitor: str = "") -> Response:
    """What may be seen of the file at `path`, if it is one of the store's or lies in `folder`. The name of a folder of
    the store can't be guessed, so knowing it is access. `visitor` is who asks, where that is known."""
    if store.needs_work(Path(path)):
        try:
            who = f"address:{visitor}" if visitor else str(Path(path).parent)
            await aside(partial(store.shown, Path(path)), client=who)
        except Busy as error:
            return PlainTextResponse(str(error), 429, RETRY)
    found = await anyio.to_thread.run_sync(partial(_look, path, store, folder))
    if found is None:
        return PlainTextResponse("Not found", 404, FILE_HEADERS)
    file, status, kind, shown = found
    headers = {**FILE_HEADERS, "accept-ranges": "bytes"}
    return FileResponse(
        file, 200, headers, kind, filename=file.name, stat_result=status, content_disposition_type=shown
    )


def _look(path: str, store: FileStore, folder: Path) -> tuple[Path, os.stat_result, str, str] | None:
    """The file, what it is, and whether a browser may open it or is to save it."""
    file = Path(path)
    if "\0" in path or path.startswith("//") or not file.is_absolute() or os.path.normpath(path) != path:
        return None
    try:
        real = file.resolve(strict=True)
        if not real.is_relative_to(folder.resolve()):
            seen = store.shown(real)
            if seen is None:
                return None
            real = seen
        if not real.is_file():
            return None
        with real.open("rb") as opened:
            kind = kind_of(opened.read(HEAD))
        status = real.stat()
    except OSError:
        return None
    # A picture stands in the page all the same; opened by itself it is saved.
    return real, status, kind.mime or BYTES, "inline" if kind.media == "video" else "attachment"
