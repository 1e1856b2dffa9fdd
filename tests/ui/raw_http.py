"""Requests byte by byte, since clients tidy up what they send; and the guard before an app that a test plays."""

from __future__ import annotations

import http.client
import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import anyio
from starlette.requests import Request

from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.ui import http_guard, page
from tests.ui.serving import EXAMPLES, Served, Wire
from tests.waiting import PATIENCE

MEGABYTE = 1024 * 1024


@dataclass
class Said:
    """What the server answered."""

    status: int
    headers: dict[str, str]
    body: bytes


def run(app: Any, *arguments: Any) -> None:
    """An ASGI app, in a thread of its own: where browser tests ran before, this one has an event loop already."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(anyio.run, app, *arguments).result()


def connect(server: Served) -> socket.socket:
    place = urlsplit(server.url)
    return socket.create_connection((place.hostname, place.port), timeout=PATIENCE)


def answer(connection: socket.socket, method: str = "GET") -> Said:
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    return Said(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def ask(
    server: Served,
    target: str,
    *headers: str,
    method: str = "GET",
    body: bytes = b"",
    host: str = "",
    version: str = "1.1",
) -> Said:
    """A request whose first line and headers are exactly these."""
    lines = [
        f"{method} {target} HTTP/{version}",
        f"Host: {host or urlsplit(server.url).netloc}",
        "Connection: close",
        *headers,
    ]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    with closing(connect(server)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return answer(connection, method)


def file(server: Served, path: str | Path, *headers: str) -> Said:
    return ask(server, f"/gradio_api/file={quote(str(path))}", *headers)


def brings(wire: Wire, path: str) -> bytes:
    """The body of a call that has an upload looked at."""
    return json.dumps({"data": [{"session": wire.session, "upload": path}], "session_hash": wire.session}).encode()


def post(server: Served, route: str, body: bytes, *headers: str, host: str = "") -> Said:
    return ask(server, route, "Content-Type: application/json", *headers, method="POST", body=body, host=host)


def sentence(said: Said) -> str:
    """What a refusal says: of an event as JSON, which Gradio's clients read, elsewhere as text."""
    if "json" not in said.headers["content-type"]:
        return said.body.decode()
    error = json.loads(said.body)["error"]
    return str(error["message"] if isinstance(error, dict) else error)


def opened(server: Served, route: str, *headers: str) -> socket.socket:
    """A connection whose request has begun and whose body is still to come."""
    connection = connect(server)
    lines = [f"POST {route} HTTP/1.1", f"Host: {urlsplit(server.url).netloc}", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection


def form(*parts: tuple[str, bytes]) -> tuple[str, bytes]:
    """A form's Content-Type header and its body; a part is what follows `form-data;` and what it holds."""
    body = b"".join(
        b"--edge\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (named.encode(), data) for named, data in parts
    )
    return "Content-Type: multipart/form-data; boundary=edge", body + b"--edge--\r\n"


def upload(server: Served, *parts: tuple[str, bytes]) -> Said:
    kind, body = form(*parts)
    return ask(server, "/gradio_api/upload", kind, method="POST", body=body)


def a_file(name: str) -> tuple[str, bytes]:
    return f'name="files"; filename="{name}"', name.encode()


def stored(server: Served) -> list[Path]:
    """The files of the store, and what is on its way there."""
    walked = os.walk(server.store.folder)  # which minds nothing that goes meanwhile
    return [Path(folder, name) for folder, _, names in walked for name in names if name != "lock"]


def chunks(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def guarded(app: Any, **changes: Any) -> Any:
    """The guard before an app that a test plays."""
    made = http_guard.middleware(Settings(**changes), Limits(), page.store(Limits()), EXAMPLES)
    return made.cls(app, *made.args, **made.kwargs)


def scope(path: str, method: str = "POST", *headers: tuple[str, str]) -> dict[str, Any]:
    listed = [("host", "localhost"), *headers]
    return {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in listed], "client": ("127.0.0.1", 1),
    }  # fmt: skip


@dataclass
class Client:
    """Sends a body piece by piece and keeps what comes back."""

    pieces: list[bytes]
    got: list[dict[str, Any]] = field(default_factory=list)

    async def receive(self) -> dict[str, Any]:
        if not self.pieces:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self.pieces.pop(0), "more_body": bool(self.pieces)}

    async def send(self, message: dict[str, Any]) -> None:
        self.got.append(message)


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    async for _ in Request(scope, receive).stream():
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
