"""Bodies are counted as they arrive, and none is large, slow, deep or packed."""

from __future__ import annotations

import gzip
import json
from contextlib import closing, suppress
from typing import Any

import anyio
import pytest
from starlette.requests import Request

from ovis_app.ui import http_arrival, http_bodies
from tests.ui.raw_http import (
    MEGABYTE,
    Client,
    answer,
    ask,
    form,
    guarded,
    nothing,
    opened,
    post,
    run,
    scope,
    sentence,
)
from tests.ui.serving import Served, Wire


@pytest.mark.parametrize("route", ["/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/call/chat"])
def test_an_announced_length_is_refused_before_a_byte_of_it_is_sent(server: Served, route: str) -> None:
    length = f"Content-Length: {60 * MEGABYTE}"
    with closing(opened(server, route, "Content-Type: application/json", length)) as connection:
        said = answer(connection)
    assert said.status == 413 and "4 MB" in sentence(said) and sentence(said).endswith(".")


@pytest.mark.parametrize("route", ["/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/call/chat"])
def test_a_body_without_a_length_is_refused_while_it_arrives(server: Served, route: str) -> None:
    kind, chunked = "Content-Type: application/json", "Transfer-Encoding: chunked"
    piece = b"[" * 65536
    with closing(opened(server, route, kind, chunked)) as connection:
        for _ in range(4 * MEGABYTE // len(piece) + 1):
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        said = answer(connection)  # though the body hasn't ended
    assert said.status == 413


def test_a_body_whose_length_is_said_twice_is_refused_and_nothing_behind_it_is_answered(server: Served) -> None:
    """Of the two, a proxy in front may go by the other, and take the rest for somebody else's request."""
    both = ("Content-Type: application/json", "Content-Length: 3", "Transfer-Encoding: chunked")
    with closing(opened(server, "/gradio_api/run/chat", *both)) as connection:
        connection.sendall(
            b"f\r\n" + b'{"data":["hi"]}' + b"\r\n0\r\n\r\nGET /robots.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        said = answer(connection)
        assert said.status == 400 and "in one way" in sentence(said)
        with suppress(ConnectionResetError):  # what wasn't read when it closed makes a reset of the end
            assert connection.recv(1024) == b""


def test_a_websocket_is_closed_unheard() -> None:
    client = Client([])
    run(guarded(nothing), scope("/gradio_api/queue/join") | {"type": "websocket"}, client.receive, client.send)
    assert client.got == [{"type": "websocket.close"}]


def test_small_requests_stay_small(server: Served) -> None:
    body = json.dumps({"session_hash": "x", "fn_index": 0, "event_id": "y" * 100_000}).encode()
    assert post(server, "/gradio_api/cancel", body).status == 413
    assert ask(server, "/config", body=b"x" * 100_000).status == 413


@pytest.mark.parametrize("length", ["-1", "1e9", "9" * 5000, "0x10", "+5"])
def test_a_length_that_is_no_number_is_refused(server: Served, length: str) -> None:
    with closing(opened(server, "/gradio_api/queue/join", f"Content-Length: {length}")) as connection:
        assert answer(connection).status in (400, 413)


def test_a_length_that_is_too_great_is_not_waited_for(server: Served) -> None:
    with closing(opened(server, "/gradio_api/queue/join", "Content-Length: 5000000")) as connection:
        connection.sendall(b"{}")
        assert answer(connection).status == 413


def test_what_is_within_the_limit_passes(wire: Wire) -> None:
    for text in ("x" * 150_000, '[{"a, b"}],\\' * 15_000):
        assert text[:1000] in wire.ask(text)["text"]
        wire.said = []


def test_a_body_of_countless_values_is_refused(server: Served, wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    for value in ("{}", "[]", "0", '""', '"\\\\"', '"\\","'):
        messages = f"[{','.join([value] * 30_000)}]"
        body = f'{{"data": [{{"session": "{wire.session}", "request": {{"messages": {messages}}}}}]}}'
        assert post(server, "/gradio_api/call/ask", body.encode()).status == 413, value
    assert post(server, "/gradio_api/run/predict", b'{"data": []}'.decode().encode("utf-16")).status == 400


@pytest.mark.parametrize("size", [1, 2, 3, 65536])
def test_values_are_counted_wherever_a_body_is_cut(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(
        {"data": ['a, "b", [c] {d} \\', "\\\\,", ",,[[" * 50, "é\u2c22,", {"x": [1, 2, {}]}]}, ensure_ascii=False
    )
    values = 1 + 1 + 4 + 1 + 1 + 2 + 1  # openings and commas outside of strings
    data = text.encode()

    def taken(most: int) -> None:
        monkeypatch.setattr(http_bodies, "VALUES", most)
        meter = http_bodies.Json(4096)
        for at in range(0, len(data), size):
            meter.take(data[at : at + size])

    taken(values)
    with pytest.raises(http_bodies.Refused):
        taken(values - 1)


def test_the_app_never_holds_more_than_the_limit() -> None:
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async for part in Request(scope, receive).stream():
            seen.append(len(part))
        raise AssertionError("the whole body arrived")

    client = Client([b"x" * MEGABYTE] * 60)
    run(guarded(app), scope("/gradio_api/queue/join"), client.receive, client.send)
    assert seen == [] and len(client.pieces) == 55
    assert [message.get("status") for message in client.got] == [413, None]


def test_event_streams_pass_as_they_come() -> None:
    client = Client([b""])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number in range(3):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            assert client.got[-1]["body"] == b"data: %d\n\n" % number  # it isn't held back
        await send({"type": "http.response.body", "body": b""})

    run(guarded(app), scope("/gradio_api/queue/data", "GET"), client.receive, client.send)
    assert len(client.got) == 5


@pytest.mark.parametrize("route", ["/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/cancel"])
def test_a_body_that_trickles_is_refused(server: Served, monkeypatch: pytest.MonkeyPatch, route: str) -> None:
    monkeypatch.setattr(http_arrival, "PATIENCE", 0.3)
    kind = form()[0] if "upload" in route else "Content-Type: application/json"
    with closing(opened(server, route, kind, "Content-Length: 5000")) as connection:
        connection.sendall(b"--edge\r\nContent-Disposition: form-data" if "upload" in route else b"{")
        said = answer(connection)
    assert said.status == 408 and b"too slowly" in said.body


def test_what_listens_for_long_is_not_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_arrival, "PATIENCE", 0.0)
    heard: list[str] = []

    class Listener(Client):
        async def receive(self) -> dict[str, Any]:
            if not self.pieces:
                await anyio.sleep(0.2)
            return await super().receive()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.extend([(await receive())["type"], (await receive())["type"]])

    client = Listener([b""])
    run(guarded(app), scope("/gradio_api/queue/data", "GET"), client.receive, client.send)
    assert heard == ["http.request", "http.disconnect"] and client.got == []


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "identity"])
def test_bodies_are_not_unpacked(server: Served, coding: str) -> None:
    """So nothing small can become large."""
    for route in ("queue/join", "run/predict", "call/chat", "call/v2/chat", "cancel", "upload"):
        kind = form()[0] if route == "upload" else "Content-Type: application/json"
        bomb = gzip.compress(b'{"data": ["' + b"x" * 5_000_000 + b'"]}')
        said = ask(server, f"/gradio_api/{route}", kind, f"Content-Encoding: {coding}", method="POST", body=bomb)
        assert said.status == (400 if coding == "identity" else 415), route
        assert coding == "identity" or "without Content-Encoding" in sentence(said)
