"""No route and no event fetches an address for anybody, and what the page never asks for is not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, suppress
from urllib.parse import quote

import pytest

from tests.canary import Canary, canary
from tests.ui.raw_http import (
    Client,
    answer,
    ask,
    connect,
    event,
    guarded,
    nothing,
    post,
    run,
    scope,
)
from tests.ui.serving import EXAMPLES, Served, Wire


@pytest.fixture
def bird() -> Iterator[Canary]:
    with canary() as here:
        yield here


def addresses(place: str) -> list[str]:
    port = place.rpartition(":")[2]
    hosts = (place, f"localhost:{port}", f"user@{place}")
    urls = [f"{scheme}{host}/x.png" for host in hosts for scheme in ("http://", "https://", "HTTP://", "//")]
    odd = [
        f"http:/{place}/x",
        f"http:{place}/x",
        f"http%3A//{place}/x",
        f" http://{place}/x",
        f"\\\\{place}\\x",
        f"file://{place}/x",
        f"ftp://{place}/x",
        f"gopher://{place}/x",
        f"concat:http://{place}/x",
        "file:///etc/passwd",
        f"data:text/uri-list,http://{place}/x",
    ]
    return [*urls, *odd]


ROUTES = ("/gradio_api/file=", "/gradio_api/file/", "/file=", "/file/", "/gradio_api/proxy=", "/proxy=",
          "/gradio_api/url=", "/gradio_api/stream/", "/config?deep_link=", "/?deep_link=", "/gradio_api/FILE=",
          "/gradio_api//file=", "/gradio_api/%66ile/", "/gradio_api/custom_component/")  # fmt: skip


def test_no_route_fetches_an_address(server: Served, bird: Canary) -> None:
    for route in ROUTES:
        for address in addresses(bird.address):
            for target in (route + quote(address, safe=":/%[]@"), route + quote(address, safe="")):
                assert bird.address.encode() not in ask(server, target).body, target
    for absolute in (f"http://{bird.address}/x", f"https://{bird.address}/gradio_api/file=/x"):
        assert ask(server, absolute).status == 404
    assert ask(server, bird.address, method="CONNECT").status in (400, 404)
    assert ask(server, f"/gradio_api/upload_progress?upload_id=http://{bird.address}/x").status == 404
    assert bird.hits == []


def test_no_event_fetches_an_address(server: Served, wire: Wire, bird: Canary) -> None:
    stored = wire.upload(EXAMPLES / "shapes.png")
    for address in addresses(bird.address):
        for one in (
            {"path": address, "meta": {"_type": "gradio.FileData"}},
            {**stored, "url": address},
            {**stored, "path": address, "url": address, "is_stream": True},
            {"url": address, "meta": {"_type": "gradio.FileData"}},
            {"path": address, "orig_name": "x.png", "mime_type": "image/png", "meta": {"_type": "gradio.FileData"}},
            address,
        ):
            post(server, "/gradio_api/run/predict", event(wire, [one]))
            asked = {"data": ["what?", [one]]}
            post(server, "/gradio_api/call/chat", json.dumps(asked).encode())
            body = {"fn_index": wire.after(wire.event("box", "submit"))["id"], "session_hash": wire.session}
            post(server, "/gradio_api/queue/join", json.dumps({**body, "data": [one] * 12}).encode())
    wire.ask("after all of them")  # what was queued before it has run
    assert bird.hits == []


@pytest.mark.parametrize(
    "route", ["process_recording", "component_server", "vibe-edit", "vibe-code", "run-history/connect"]
)
def test_what_the_page_never_asks_for_is_not_there(server: Served, route: str) -> None:
    assert post(server, f"/gradio_api/{route}", b"{}").status == 404
    for gone in ("/pwa_icon/12000", "/monitoring", "/monitoring/summary", "/gradio_api/deep_link?session_hash=x",
                 "/gradio_api/dev/reload", "/gradio_api/runs", "/login", "/docs"):  # fmt: skip
        assert ask(server, gone).status == 404


@pytest.mark.parametrize(("path", "status"), [("/chat/config", 200), ("/config", 200), ("/chat/file=/x", 404),
                                               ("/chat/gradio_api/file/x", 404), ("/chatconfig", 404),
                                               ("/chat/chat/config", 404), ("/chat", 404)])  # fmt: skip
def test_behind_a_prefix_the_same_is_there(path: str, status: int) -> None:
    client = Client([b""])
    run(guarded(nothing), scope(path, "GET") | {"root_path": "/chat"}, client.receive, client.send)
    assert client.got[0]["status"] == status


def test_a_long_address_is_refused_and_harms_nobody(server: Served) -> None:
    assert ask(server, f"/config?{'x=1&' * 2_300}").status == ask(server, f"/config?{'x=1&' * 12_000}").status == 414
    for endless in (f"GET /config?{'x' * 300_000}", f"GET /config HTTP/1.1\r\nX-Long: {'x' * 300_000}"):
        with closing(connect(server)) as connection, suppress(ConnectionError):
            connection.sendall(endless.encode())
            assert answer(connection).status == 400
    assert ask(server, "/config").status == 200
