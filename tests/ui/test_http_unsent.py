"""Who doesn't take what is sent loses the connection, and a reader who is only slow hears it all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import uvicorn

from ovis_app.ui.http_heads import Heads
from tests.waiting import PATIENCE, until

PIECE, PIECES = 64 * 1024, 1024
KEPT = 16 * 1024 * 1024  # bytes: more than systems keep of what was sent


async def app(scope: Any, receive: Any, send: Any) -> None:
    """In pieces, or at once, where the path says so."""
    each, number = (PIECE * PIECES, 1) if scope["path"] == "/once" else (PIECE, PIECES)
    length = str(PIECE * PIECES).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    for place in range(number):
        await send({"type": "http.response.body", "body": bytes(each), "more_body": place < number - 1})


@pytest.fixture
def server() -> Iterator[uvicorn.Server]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=Heads, port=listening.getsockname()[1], log_level="error", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until(lambda: running.started)
    yield running
    running.should_exit = True
    thread.join(PATIENCE)


def asked(server: uvicorn.Server, path: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.config.port), timeout=PATIENCE)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    return connection


def looked_at(connection: Any) -> None:
    """A minute has gone by."""
    done = threading.Event()
    connection.loop.call_soon_threadsafe(lambda: (connection.look(), done.set()))
    assert done.wait(PATIENCE)


def only(server: uvicorn.Server) -> Any:
    """The connection there is, once no more of its answer can be sent."""
    until(lambda: server.server_state.connections)
    [connection] = server.server_state.connections
    until(lambda: connection.transport.get_write_buffer_size() > PIECE)
    return connection


@pytest.mark.parametrize("path", ["/pieces", "/once"])
def test_who_takes_nothing_keeps_no_connection(server: uvicorn.Server, path: str) -> None:
    with closing(asked(server, path)):
        connection = only(server)
        looked_at(connection)
        assert server.server_state.connections
        looked_at(connection)
        until(lambda: not server.server_state.connections)


def test_who_is_only_slow_hears_it_all(server: uvicorn.Server) -> None:
    found, looked = 0, 0
    with closing(asked(server, "/pieces")) as reader:
        connection = only(server)
        while data := reader.recv(4 * PIECE):
            found += len(data)
            if found > looked + KEPT:
                looked = found
                looked_at(connection)
    assert found > PIECE * PIECES and looked > 3 * KEPT
