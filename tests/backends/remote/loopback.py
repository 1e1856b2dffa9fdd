"""A server on loopback that says what a test tells it to, byte by byte, as well or as badly as servers do."""

from __future__ import annotations

import json
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE

RECORDINGS = Path(__file__).parent.parent.parent / "fixtures" / "recordings"
CHAT, MODELS, TOKENIZE = "/v1/chat/completions", "/v1/models", "/tokenize"
STREAM = "text/event-stream; charset=utf-8"


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: Any


@dataclass(frozen=True)
class Reply:
    """What is answered. `more` is sent after the body, as long as somebody listens; `broken` ends the connection
    without an end of the body."""

    body: bytes = b""
    status: int = 200
    kind: str = STREAM
    headers: dict[str, str] = field(default_factory=dict)
    more: Callable[[], Iterator[bytes]] | None = None
    broken: bool = False

    @classmethod
    def json(cls, said: Any, status: int = 200) -> Reply:
        return cls(json.dumps(said).encode(), status, "application/json")

    @classmethod
    def recorded(cls, name: str) -> Reply:
        """What a real server sent."""
        first, _, body = (RECORDINGS / f"{name}.txt").read_bytes().partition(b"\n")
        status, kind = first.decode().partition("HTTP ")[2].split(" ", 1)
        return cls(body, int(status), kind)


def chunk(**fields: Any) -> bytes:
    """A chunk whose only choice has these fields as its delta; `finish` ends it, `usage` stands beside it."""
    finish, usage = fields.pop("finish", None), fields.pop("usage", None)
    said: dict[str, Any] = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": fields}]}
    said["choices"][0]["finish_reason"] = finish
    return event(said | ({"usage": usage} if usage else {}))


def event(said: Any) -> bytes:
    return b"data: " + json.dumps(said).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
HELLO = Reply(chunk(content="Hello") + chunk(content=" there.") + chunk(finish="stop") + DONE)


def listing(*names: str, **fields: Any) -> Reply:
    return Reply.json({"object": "list", "data": [{"id": name, "object": "model", **fields} for name in names]})


class Loopback:
    """Answers each path by the next of its replies, the last one again and again; other paths are 404."""

    def __init__(self, *, model: str = "AIDC-AI/Ovis2.5-9B", context: int = 4096, tls: ssl.SSLContext | None = None):
        self.replies: dict[str, list[Reply]] = {MODELS: [listing(model, max_model_len=context)], CHAT: [HELLO]}
        self.asked: list[Asked] = []
        self.left = threading.Event()  # somebody went away while `more` was sent
        self.random = random.Random(3)
        handler = type("Handler", (_Handler,), {"loopback": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        if tls is not None:  # each handshake in its connection's own thread
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def __enter__(self) -> Loopback:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Goes away, with all connections. May be called twice."""
        self._server.shutdown()
        self._server.server_close()
        for connection in self._server.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def says(self, *replies: Reply, at: str = CHAT) -> None:
        self.replies[at] = list(replies)

    def chats(self) -> list[Asked]:
        """The questions that came."""
        return [one for one in self.asked if one.path == CHAT]

    def reply(self, path: str) -> Reply:
        replies = self.replies.get(path, [Reply.json({"detail": "Not Found"}, 404)])
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def pieces(self, body: bytes) -> Iterator[bytes]:
        """The bytes, split at random places."""
        while body:
            size = self.random.choice((1, 2, 3, 7, 64, 1500)) if len(body) < 100_000 else 65536
            yield body[:size]
            body = body[size:]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_activate(self) -> None:
        self.connections: list[socket.socket] = []
        super().server_activate()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def handle_error(self, *_: Any) -> None:
        """A client that leaves, or refuses the certificate, is what a test is about."""


class _Handler(BaseHTTPRequestHandler):
    loopback: Loopback
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE

    def do_GET(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): text for name, text in self.headers.items()}
        self.loopback.asked.append(Asked(self.path, headers, json.loads(raw) if raw else None))
        self._send(self.loopback.reply(self.path))

    do_POST = do_GET

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        if reply.kind:
            self.send_header("content-type", reply.kind)
        for name, text in reply.headers.items():
            self.send_header(name, text)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for piece in self.loopback.pieces(reply.body):
                self._piece(piece)
            for piece in reply.more() if reply.more else ():
                self._piece(piece)
        except OSError:
            self.loopback.left.set()
            self.close_connection = True
            return
        if reply.broken:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _piece(self, piece: bytes) -> None:
        self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Nothing."""
