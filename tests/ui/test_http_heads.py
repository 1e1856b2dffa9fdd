"""Heads that don't end: neither their bytes nor their time are without limit, and whoever is answered isn't cut off."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import anyio
import pytest
import uvicorn

from ovis_app.ui import http_heads
from tests.waiting import PATIENCE, until

SLOW = 1.5  # seconds that an answer takes here
left = threading.Event()  # whoever asked for /looks


class Unheard(asyncio.Protocol):
    """In place of a library for WebSocket."""

    def __init__(self, **_: Any) -> None:
        pass


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    if scope["path"] == "/fails":
        raise RuntimeError
    if scope["path"] == "/slow":
        await asyncio.sleep(SLOW)
    if scope["path"] == "/looks":  # whether somebody is still there, as Gradio's streams do
        while True:
            with anyio.move_on_after(0.01):
                if (await receive())["type"] == "http.disconnect":
                    left.set()
                    return
    if scope["path"] == "/body":
        while (await receive()).get("more_body"):
            pass
    if scope["path"] == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not left.is_set():
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(0)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(http_heads, "PATIENCE", 0.5)
    listening = socket.create_server(("127.0.0.1", 0))
    uvicorn.Config(app)  # which sets up the loggers, as that of the page does
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)  # to whoever looks
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_keep_alive=30))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    server.config.ws_protocol_class = Unheard
    http_heads.install(server.config)  # as `serve` does, of a server that runs
    yield int(listening.getsockname()[1])
    server.should_exit = True
    thread.join(PATIENCE)


def opened(port: int, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    connection.sendall(data)
    return connection


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes; a test that waits in vain fails by the connection's own patience."""
    found = b""
    while data := connection.recv(65_536):
        found += data
    return found


def head(path: str, *more: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *more, "", ""]).encode()


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\n", head("/")[:-2]])
def test_a_head_that_does_not_come_ends_its_connection(port: int, begun: bytes) -> None:
    with closing(opened(port, begun)) as connection:
        assert rest(connection) == b""
    with closing(opened(port, head("/") + b"GET / HT")) as connection:  # nor behind an answer
        assert rest(connection).endswith(b"ok")


def test_a_head_that_trickles_has_no_more_time(port: int) -> None:
    with closing(opened(port, b"GET / HTTP/1.1\r\n")) as connection, pytest.raises(OSError):
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            connection.sendall(b"a: b\r\n")
            time.sleep(0.05)


def test_a_head_without_end_is_refused(port: int) -> None:
    with closing(opened(port, b"GET / HTTP/1.1\r\na: " + b"b" * 200_000)) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_who_is_being_answered_or_sends_a_body_is_left_alone(port: int) -> None:
    with closing(opened(port, head("/slow", "Connection: close"))) as connection:
        assert rest(connection).endswith(b"ok")
    with closing(opened(port, head("/body", "Connection: close", "Content-Length: 6"))) as connection:
        for _ in range(6):
            time.sleep(SLOW / 6)
            connection.sendall(b"x")
        assert rest(connection).endswith(b"ok")


def test_of_many_silent_connections_the_oldest_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_heads, "PATIENCE", PATIENCE)
    monkeypatch.setattr(http_heads, "MOST", 2)
    with ExitStack() as stack:
        first, *others = (stack.enter_context(closing(opened(port, b""))) for _ in range(3))
        assert rest(first) == b""
        for connection in others:
            connection.sendall(head("/", "Connection: close"))
            assert rest(connection).endswith(b"ok")


def test_what_comes_ahead_of_its_turn_is_bounded(port: int) -> None:
    left.clear()
    with closing(opened(port, head("/looks"))) as connection:
        with suppress(OSError):
            connection.sendall(bytes(8 * http_heads.AHEAD))
        assert left.wait(PATIENCE)
    with closing(opened(port, head("/slow") + head("/", "Connection: close"))) as connection:
        assert rest(connection).endswith(b"ok")


@pytest.mark.parametrize("to", ["websocket", "h2c", "TLS/1.0"])
def test_whoever_asks_for_another_protocol_gets_an_answer_and_no_line_in_the_log(
    port: int, caplog: pytest.LogCaptureFixture, to: str
) -> None:
    with closing(opened(port, head("/", "Connection: Upgrade, close", f"Upgrade: {to}"))) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    with closing(opened(port, b"no head\r\n\r\n")) as connection:
        assert rest(connection).startswith(b"HTTP/1.1 400")
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_what_fails_here_is_in_the_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with closing(opened(port, head("/fails", "Connection: close"))) as connection:
        assert rest(connection).startswith(b"HTTP/1.1 500")
    errors = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert [one.getMessage().strip() for one in errors] == ["Exception in ASGI application"]


@pytest.mark.parametrize("path", ["/", "/stream"])
def test_what_makes_no_sense_behind_an_answers_beginning_leaves_no_traceback(
    port: int, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    left.clear()
    chunked = head(path, "Transfer-Encoding: chunked")
    with closing(opened(port, chunked)) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        with suppress(OSError):
            connection.sendall(b"no chunk\r\n")
            rest(connection)
    left.set()
    assert "Traceback" not in caplog.text and not any(one.exc_info for one in caplog.records)
