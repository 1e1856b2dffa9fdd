"""The page's own modules, libraries and examples over HTTP, at `page/VERSION/NAME`.

Knows a fixed table of names, made once: what isn't in it isn't there. The version is a digest of all that browsers
load, so a browser keeps each file for ever, and never mixes those of two versions.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from ovis_app.ui.joined import NotJoined, joined

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
FOLDERS = ("page", "vendor", "app")
FIRST = "main.mjs"  # the module that the page begins with
FOR_EVER = "public, max-age=31536000, immutable"
KINDS = MappingProxyType(
    {
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".css": "text/css",
        ".woff2": "font/woff2",
        ".png": "image/png",
        ".jpg": "image/jpeg",
        ".mp4": "video/mp4",
        ".svg": "image/svg+xml",
        ".webmanifest": "application/manifest+json",
    }
)
TEXT = {".mjs", ".js", ".css"}  # that are sent compressed
OTHER_VERSION = "This page was updated: reload to get the new one. Nothing is lost."


@dataclass(frozen=True)
class StaticFiles:
    """Files by the names that they are asked for by."""

    files: dict[str, Path]
    version: str
    made: dict[str, str]  # what is sent in place of a file

    @staticmethod
    def of(examples: Path) -> StaticFiles:
        """Those of the page, and the examples below `examples/`."""
        files = {file.relative_to(STATIC).as_posix(): file for folder in FOLDERS for file in _in(folder)}
        seen = hashlib.sha256()
        for name in sorted(files):
            seen.update(name.encode() + files[name].read_bytes())
        pictures = {f"examples/{file.name}": file for file in sorted(examples.iterdir()) if file.suffix in KINDS}
        return StaticFiles({**files, **pictures}, seen.hexdigest()[:12], _first(files))

    @property
    def base(self) -> str:
        """What stands before a name, relative to the page."""
        return f"page/{self.version}/"

    def routes(self) -> Sequence[Route]:
        """One route for all of them."""
        return [Route("/page/{version}/{name:path}", self.answer, methods=["GET"])]

    async def answer(self, request: Request) -> Response:
        """A file of this version; of another there is none."""
        if request.path_params["version"] != self.version:
            return PlainTextResponse(OTHER_VERSION, 404)
        file = self.files.get(request.path_params["name"])
        if file is None:
            return PlainTextResponse("Not found", 404)
        headers = {"cache-control": FOR_EVER}
        if file.suffix not in TEXT:
            return FileResponse(file, media_type=KINDS[file.suffix], headers=headers)
        headers["vary"] = "Accept-Encoding"
        zipped = "gzip" in request.headers.get("accept-encoding", "")
        if zipped:
            headers["content-encoding"] = "gzip"
        content = _content(file, self.made.get(request.path_params["name"]), zipped=zipped)
        return Response(content, media_type=KINDS[file.suffix], headers=headers)


@functools.cache
def _content(file: Path, made: str | None, *, zipped: bool) -> bytes:
    content = file.read_bytes() if made is None else made.encode()
    return gzip.compress(content, 9) if zipped else content


def _first(files: dict[str, Path]) -> dict[str, str]:
    """The modules that the page begins with, in one; as they are where one is written in a way that can't be joined."""
    modules = {name: file for name, file in files.items() if name.startswith("page/")}
    try:
        made = joined({file.name: file.read_text("utf-8") for file in modules.values()}, FIRST)
    except NotJoined as error:
        log.warning("The page's modules are sent one by one: %s", error)
        return {}
    return {name: made[file.name] for name, file in modules.items() if file.name in made}


def _in(folder: str) -> list[Path]:
    return sorted(file for file in (STATIC / folder).rglob("*") if file.is_file() and file.suffix in KINDS)
