"""What a stranger may not do past the page, asked byte by byte, since clients tidy up what they send."""

from __future__ import annotations

import gzip
import html
import http.client
import json
import logging
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import anyio
import pytest
from gradio.utils import get_upload_folder
from starlette.requests import Request

from ovis_app.limits import Limits
from ovis_app.media import decoder_process, incoming_file
from ovis_app.media.readers import Readers
from ovis_app.settings import Settings
from ovis_app.ui import aside, http_arrival, http_bodies, http_guard, page
from tests.canary import Canary, canary
from tests.media.made import clip, corners, encoded, numbered
from tests.ui.hostile import FILES, spellings
from tests.ui.serving import EXAMPLES, HeldBackend, Served, Wire, served
from tests.waiting import PATIENCE, until

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


def event(wire: Wire, files: list[Any], text: str = "x") -> bytes:
    """The body of a question that is sent."""
    fn = wire.event("box", "submit")["id"]
    data = [None, {"text": text, "files": files}]
    return json.dumps({"fn_index": fn, "session_hash": wire.session, "data": data}).encode()


def post(server: Served, route: str, body: bytes, *headers: str, host: str = "") -> Said:
    return ask(server, route, "Content-Type: application/json", *headers, method="POST", body=body, host=host)


# --- what is uploaded is never a page -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_nothing_uploaded_is_a_page_whatever_the_spelling(
    server: Served, wire: Wire, tmp_path: Path, name: str
) -> None:
    source = tmp_path / "file"
    source.write_bytes(FILES[name])
    stored = wire.upload(source.rename(tmp_path / name))["path"]
    every = list(spellings(stored))
    for target in every if name in ("page.html", "polyglot.gif") else every[:9]:
        if " " in target or "#" in target:
            continue  # no HTTP; a browser test has them too
        said = ask(server, target)
        if said.status in (404, 400):
            assert FILES[name] not in said.body
            continue
        assert said.status == 200, target
        kind = said.headers["content-type"]
        assert kind in ("image/png", "image/jpeg"), target  # a copy, or a picture that says that there is none
        assert said.headers["content-disposition"].startswith("attachment") and b"script" not in said.body, target
        assert said.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in said.headers["content-security-policy"]


def test_the_usual_spelling_alone_is_there(server: Served, wire: Wire) -> None:
    stored = wire.upload(EXAMPLES / "shapes.png")["path"]
    there = [target for target in spellings(stored) if " " not in target and ask(server, target).status == 200]
    usual = f"/gradio_api/file={quote(stored)}"
    # The route is spelled in one way; what follows it may be percent-encoded as a browser likes.
    same = {usual, usual + "?x=.png", usual + "#.png", f"{usual.rpartition('/')[0]}%2F{usual.rpartition('/')[2]}"}
    assert usual in there and set(there) <= {*same, f"/gradio_api/file={quote(stored, safe='')}"}


def test_a_file_is_what_its_bytes_say(server: Served, wire: Wire, tmp_path: Path) -> None:
    liar = tmp_path / "picture.html"
    liar.write_bytes(encoded(corners(), "PNG"))
    said = file(server, wire.upload(liar)["path"])
    assert said.headers["content-type"] == "image/png" and said.body.startswith(b"\x89PNG")  # a copy of its pixels
    movie = clip(tmp_path / "movie.mp4", map(numbered, range(3)))
    stored = wire.upload(movie)["path"]
    said = file(server, stored)
    assert said.headers["content-type"] == "video/mp4" and said.headers["content-disposition"].startswith("inline")
    part = file(server, stored, "Range: bytes=4-7")
    assert part.status == 206 and part.body == said.body[4:8] == b"ftyp"
    assert part.headers["content-range"] == f"bytes 4-7/{len(said.body)}"
    assert "sandbox" in part.headers["content-security-policy"]
    head = ask(server, f"/gradio_api/file={quote(stored)}", method="HEAD")
    assert head.status == 200 and head.headers["content-type"] == "video/mp4" and head.body == b""


def test_files_outside_the_served_folders_are_not_there(server: Served, wire: Wire, tmp_path: Path) -> None:
    stored = Path(wire.upload(EXAMPLES / "shapes.png")["path"])
    assert file(server, stored).status == file(server, EXAMPLES / "left.png").status == 200
    outside = tmp_path / "secret.png"
    outside.write_bytes(encoded(corners(), "PNG"))
    link = stored.with_name("link.png")
    link.symlink_to(outside)
    try:
        for path in (
            outside,
            link,
            "/etc/passwd",
            page.STATIC / "page.js",
            stored.parent,
            get_upload_folder(),
            "x.png",
        ):
            assert file(server, path).status == 404, path
    finally:
        link.unlink()


# --- no relay -------------------------------------------------------------------------------------------------------


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


# --- bodies ---------------------------------------------------------------------------------------------------------


def opened(server: Served, route: str, *headers: str) -> socket.socket:
    """A connection whose request has begun and whose body is still to come."""
    connection = connect(server)
    lines = [f"POST {route} HTTP/1.1", f"Host: {urlsplit(server.url).netloc}", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection


@pytest.mark.parametrize("route", ["/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/call/chat"])
def test_an_announced_length_is_refused_before_a_byte_of_it_is_sent(server: Served, route: str) -> None:
    length = f"Content-Length: {60 * MEGABYTE}"
    with closing(opened(server, route, "Content-Type: application/json", length)) as connection:
        said = answer(connection)
    assert said.status == 413 and b"4 MB" in said.body and said.body.endswith(b".")


@pytest.mark.parametrize("route", ["/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/call/chat"])
def test_a_body_without_a_length_is_refused_while_it_arrives(server: Served, route: str) -> None:
    kind, chunked = "Content-Type: application/json", "Transfer-Encoding: chunked"
    piece = b"[" * 65536
    with closing(opened(server, route, kind, chunked)) as connection:
        for _ in range(4 * MEGABYTE // len(piece) + 1):
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        said = answer(connection)  # though the body hasn't ended
    assert said.status == 413


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
        assert text[:1000] in html.unescape(str(wire.send(text)[1][0]["content"][0]["value"]))
        wire.session = wire.session[::-1]


def test_a_body_of_countless_values_is_refused(server: Served, wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    fn = wire.event("box", "submit")["id"]
    for value in ("{}", "[]", "0", '""', '"\\\\"', '"\\","'):
        files = f"[{','.join([value] * 30_000)}]"
        body = f'{{"fn_index": {fn}, "data": [null, {{"text": "x", "files": {files}}}]}}'
        assert post(server, "/gradio_api/run/predict", body.encode()).status == 413, value
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


def test_uploads_have_their_own_limits(server: Served) -> None:
    assert upload(server, a_file("a.png"), a_file("b.png")).status == 200
    assert upload(server, *(a_file(f"{i}.png") for i in range(64))).status == 200
    many = upload(server, *(a_file(f"{i}.png") for i in range(65)))
    assert many.status == 413 and b"fewer" in many.body
    for named in ('name="files"', 'name="x"', 'name="files"; filename*=', ""):
        assert upload(server, a_file("a.png"), (named, b"x" * 100)).status in (400, 413), named
    assert ask(server, "/gradio_api/upload", "Content-Type: text/plain", method="POST", body=b"x").status == 400
    assert (
        ask(server, "/gradio_api/upload", "Content-Type: multipart/form-data", method="POST", body=b"x").status == 400
    )
    for edge in ("x" * 257, "x" * 10_000, '""', "\xff" * 300):
        kind = f"Content-Type: multipart/form-data; boundary={edge}"
        said = ask(server, "/gradio_api/upload", kind, method="POST", body=b"x")
        assert said.status == 400 and said.body.endswith(b"."), edge
    length = f"Content-Length: {900 * MEGABYTE}"
    with closing(opened(server, "/gradio_api/upload", form()[0], length)) as connection:
        assert answer(connection).status == 413


def test_an_upload_that_is_refused_midway_leaves_nothing(server: Served, wire: Wire) -> None:
    limits = Limits(image_bytes=1, video_bytes=1, files_per_turn=1)
    with limited(limits) as small:
        kind, body = form(a_file("a.png"), ('name="files"; filename="b.png"', b"x" * 300_000))
        for headers, sent in ((f"Content-Length: {len(body)}", body), ("Transfer-Encoding: chunked", chunks(body))):
            with closing(opened(small, "/gradio_api/upload", kind, headers)) as connection:
                connection.sendall(sent)
                assert answer(connection).status == 413
        assert stored(small) == []


def stored(server: Served) -> list[Path]:
    """The files of the store, and what is on its way there."""
    walked = os.walk(server.store.folder)  # which minds nothing that goes meanwhile
    return [Path(folder, name) for folder, _, names in walked for name in names if name != "lock"]


def chunks(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def limited(limits: Limits) -> Any:
    return served(HeldBackend(), image_bytes=limits.image_bytes, video_bytes=limits.video_bytes,
                  files_per_turn=limits.files_per_turn)  # fmt: skip


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


# --- who asks, and under which name ---------------------------------------------------------------------------------


def test_another_name_is_answered_only_where_it_is_allowed(server: Served) -> None:
    port = urlsplit(server.url).port
    for good in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost", "LOCALHOST", "app.localhost", "[::1]:1"):
        assert ask(server, "/config", host=good).status == 200, good
    for bad in (f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example", "10.0.0.1",
                "localhost@evil.example", "0.0.0.0"):  # fmt: skip
        said = ask(server, "/config", host=bad)
        assert said.status in (400, 421) and b"--allowed-hosts" in said.body and said.body.count(b".") == 1, bad
    twice = ask(server, "/config", "Host: evil.example")
    assert twice.status == 400


def test_allowed_hosts_are_answered_too() -> None:
    with served(HeldBackend(), allowed_hosts="chat.example.org, OTHER.example") as server:
        for host, status in (("chat.example.org", 200), ("other.example:443", 200), ("third.example", 421)):
            assert ask(server, "/config", host=host).status == status
        origin = "Origin: https://chat.example.org"
        assert (
            post(server, "/gradio_api/cancel", b'{"session_hash":"a","fn_index":0,"event_id":"b"}', origin).status
            == 200
        )


@pytest.mark.parametrize("changes", [{"server_name": "0.0.0.0"}, {"server_name": "0.0.0.0", "share": True}])
def test_where_others_are_let_in_every_name_is_answered(changes: dict[str, Any]) -> None:
    client = Client([b""])
    guard = guarded(nothing, **changes)
    run(guard, scope("/config", "GET") | {"headers": [(b"host", b"anything.gradio.live")]}, client.receive, client.send)
    assert client.got[0]["status"] == 200


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    async for _ in Request(scope, receive).stream():
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


ORIGINS = [  # listens on, is asked by, origin, more headers, status
    ({}, "localhost:7860", "http://localhost:7860", {}, 200),
    ({}, "127.0.0.1:7860", "http://127.0.0.1:7860", {}, 200),
    ({}, "127.0.0.1:7860", "http://evil.example", {}, 403),
    ({}, "127.0.0.1:7860", "http://127.0.0.1:3000", {}, 403),  # another page of this machine
    ({}, "127.0.0.1:7860", "null", {}, 403),
    ({}, "127.0.0.1:7860", "https://codes.example", {"x-forwarded-host": "codes.example"}, 200),
    ({"server_name": "0.0.0.0"}, "10.0.0.5:7860", "http://10.0.0.5:7860", {}, 200),
    ({"server_name": "0.0.0.0"}, "chat.example", "https://chat.example", {}, 200),
    ({"server_name": "0.0.0.0"}, "chat.example", "https://chat.example:8443", {}, 200),
    ({"server_name": "0.0.0.0"}, "10.0.0.5:7860", "http://evil.example", {}, 403),
    ({"server_name": "0.0.0.0"}, "10.0.0.5:7860", "http://evil.example", {"x-forwarded-host": "evil.example"}, 403),
    ({"server_name": "0.0.0.0", "allowed_hosts": "shop.example"}, "10.0.0.5", "https://shop.example", {}, 200),
    ({"share": True}, "abc.gradio.live", "https://abc.gradio.live", {}, 200),
    ({"share": True}, "localhost:7860", "https://abc.gradio.live", {}, 200),
    ({"share": True}, "abc.gradio.live", "https://evil.example", {}, 403),
]


@pytest.mark.parametrize("route", ["/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/run/predict"])
def test_another_site_may_neither_post_nor_upload(route: str) -> None:
    for changes, host, origin, more, status in ORIGINS:
        client = Client([b""])
        kind = ("content-type", "multipart/form-data; boundary=edge")
        asked = scope(route, "POST", ("origin", origin), kind, *more.items())
        asked["headers"] = [(b"host", host.encode()), *asked["headers"][1:]]
        run(guarded(nothing, **changes), asked, client.receive, client.send)
        assert client.got[0]["status"] == status, (changes, host, origin, more)


def test_the_page_says_what_may_frame_it_and_where_forms_go(server: Served) -> None:
    policy = ask(server, "/").headers["content-security-policy"]
    for part in (
        "form-action 'self'",
        "frame-ancestors 'self'",
        "base-uri 'self'",
        "object-src 'none'",
        "img-src 'self'",
    ):
        assert part in policy
    assert "huggingface" not in policy
    client = Client([b""])
    run(guarded(nothing, server_name="0.0.0.0", space=True), scope("/", "GET"), client.receive, client.send)
    assert "https://huggingface.co" in dict(client.got[0]["headers"])[b"content-security-policy"].decode()


def test_listening_to_everybody_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    http_guard.middleware(Settings(), Limits(), page.store(Limits()), EXAMPLES)
    http_guard.middleware(Settings(server_name="0.0.0.0", auth=("anna:x",)), Limits(), page.store(Limits()), EXAMPLES)
    assert not caplog.records
    http_guard.middleware(Settings(server_name="0.0.0.0"), Limits(), page.store(Limits()), EXAMPLES)
    [record] = caplog.records
    assert record.levelno == logging.WARNING and "0.0.0.0" in record.getMessage()


# --- who may change the model ---------------------------------------------------------------------------------------

PROXIED = ["X-Forwarded-For: 203.0.113.5", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: chat.example",
           "X-Forwarded-Proto: https", "Forwarded: for=203.0.113.5", "Via: 1.1 proxy", "X-Real-IP: 203.0.113.5",
           "CF-Connecting-IP: 203.0.113.5", "CF-Ray: 1"]  # fmt: skip


def change(server: Served, wire: Wire, *headers: str, host: str = "", name: str = "Ovis2-1B") -> Said:
    chosen = wire.event("use-own", "click")
    body = {"fn_index": chosen["id"], "session_hash": wire.session, "data": [None, "", None, name]}
    return post(server, "/gradio_api/run/predict", json.dumps(body).encode(), *headers, host=host)


@pytest.mark.parametrize("header", PROXIED)
def test_whoever_comes_through_a_proxy_cannot_change_the_model(header: str, tmp_path: Path) -> None:
    with served(HeldBackend(fetching=60), allowed_hosts="chat.example") as server, closing(Wire(server)) as wire:
        for name in ("Ovis2-1B", str(tmp_path)):
            said = change(server, wire, header, name=name)
            assert said.status == 200 and b"Only whoever runs this page" in said.body
            assert str(tmp_path).encode() not in said.body
        assert server.backend.coming is None
        change(server, wire)
        assert server.backend.coming is not None
        cancel = {"fn_index": wire.event("cancel-change", "click")["id"], "session_hash": wire.session}
        post(server, "/gradio_api/run/predict", json.dumps({**cancel, "data": [None, "", None]}).encode(), header)
        assert not server.backend.cancelled.is_set()
        server.backend.cancel_change()


def test_only_names_of_this_machine_may_change_the_model() -> None:
    with served(HeldBackend(fetching=60), allowed_hosts="chat.example") as server, closing(Wire(server)) as wire:
        for host, origin in (("chat.example", ""), ("", "Origin: https://chat.example")):
            said = change(server, wire, *([origin] if origin else []), host=host)
            assert said.status == 200 and b"Only whoever runs this page" in said.body
        assert server.backend.coming is None


def test_a_proxy_that_adds_nothing_but_speaks_the_old_protocol_is_one() -> None:
    with served(HeldBackend(fetching=60)) as server, closing(Wire(server)) as wire:
        data = [None, "", None, "Ovis2-1B"]
        body = {"fn_index": wire.event("use-own", "click")["id"], "session_hash": wire.session, "data": data}
        said = ask(server, "/gradio_api/run/predict", "Content-Type: application/json", method="POST",
                   body=json.dumps(body).encode(), version="1.0")  # fmt: skip
        assert said.status == 200 and b"Only whoever runs this page" in said.body
        assert server.backend.coming is None


def test_the_operator_may_let_everybody_choose() -> None:
    with served(HeldBackend(fetching=60), model_choice="on") as server, closing(Wire(server)) as wire:
        change(server, wire, "X-Forwarded-For: 203.0.113.5")
        assert server.backend.coming is not None
        server.backend.cancel_change()


def test_the_choice_is_shown_only_to_whom_it_belongs() -> None:
    for header, shown in (("X-Forwarded-For: 203.0.113.5", False), ("X-Harmless: 1", True)):
        with served(HeldBackend()) as server, closing(Wire(server)) as wire:
            choice = wire.id_of("may-choose")
            [load] = [d for d in wire.config["dependencies"] if d["outputs"] == [choice]]
            body = {"fn_index": load["id"], "session_hash": wire.session, "data": []}
            said = post(server, "/gradio_api/run/predict", json.dumps(body).encode(), header)
            assert ("<i>" in json.loads(said.body)["data"][0]) is shown
            opened = {"fn_index": wire.event("model", "click")["id"], "session_hash": wire.session, "data": ["", None]}
            said = post(server, "/gradio_api/run/predict", json.dumps(opened).encode(), header)
            assert (b"Ovis2.5-9B" in said.body) is shown


# --- files are looked at aside --------------------------------------------------------------------------------------


def test_others_are_served_while_many_pictures_wait_to_be_looked_at(
    server: Served, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def waiting(files: Any, *_: Any) -> Iterator[Any]:
        assert gate.wait(PATIENCE)
        yield from (({}, b"") for _ in files)

    monkeypatch.setattr(decoder_process, "image_records", waiting)
    monkeypatch.setattr(aside, "readers", Readers(6, each=2, patience=PATIENCE))
    session, answered = wire.session, list[bytes]()
    bodies = [event(wire, [wire.upload(EXAMPLES / "shapes.png")], "bomb").decode() for _ in range(60)]

    def send(number: int) -> None:
        one = bodies[number].replace(session, f"{session}{number}").encode()
        answered.append(post(server, "/gradio_api/run/predict", one).body)

    senders = [threading.Thread(target=send, args=(n,)) for n in range(60)]  # more than Gradio has threads
    for sender in senders:
        sender.start()
    try:
        for turn in range(5):
            wire.session = f"{session}-{turn}"
            assert "text alone" in str(wire.send("text alone")[1])
            wire.open_models()
            assert ask(server, "/").status == 200
        assert answered == []
    finally:
        gate.set()
        for sender in senders:
            sender.join()
    assert len(answered) == 60 and all(b"bomb" in one for one in answered)


def test_sessions_that_one_visitor_makes_up_have_the_places_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, asked = threading.Event(), list[str]()

    def waiting(files: Any, *_: Any) -> Iterator[Any]:
        assert gate.wait(PATIENCE)
        yield from (({}, b"") for _ in files)

    class Watched(Readers):
        async def run(self, work: Any, *, client: str) -> Any:
            asked.append(client)
            return await super().run(work, client=client)

    monkeypatch.setattr(decoder_process, "image_records", waiting)
    monkeypatch.setattr(aside, "readers", Watched(2, each=1, patience=PATIENCE))
    with served(HeldBackend(), trusted_proxies=("127.0.0.1",)) as there, closing(Wire(there)) as wire:
        greedy, answered = "X-Forwarded-For: 192.0.2.7", list[bytes]()
        bodies = [event(wire, [wire.upload(EXAMPLES / "shapes.png")]).decode() for _ in range(5)]
        wire.http.headers["x-forwarded-for"] = "192.0.2.8"
        path = wire.upload(EXAMPLES / "left.png")["path"]

        def send(number: int) -> None:
            body = bodies[number].replace(wire.session, f"{wire.session}{number}").encode()
            answered.append(post(there, "/gradio_api/run/predict", body, greedy).body)

        senders = [threading.Thread(target=send, args=(number,)) for number in range(5)]
        for sender in senders:
            sender.start()
        try:
            until(lambda: len(asked) == 5)
            assert file(there, path, "X-Forwarded-For: 192.0.2.8").status == 200
            assert answered == []
        finally:
            gate.set()
            for sender in senders:
                sender.join()


# --- what else was tried --------------------------------------------------------------------------------------------


def test_an_upload_whose_sender_leaves_stays_on_no_disk(server: Served, capfd: Any) -> None:
    before = set(stored(server))
    kind, body = form(('name="files"; filename="b.png"', b"x" * 3_000_000))
    for length in (f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"):
        with closing(opened(server, "/gradio_api/upload", kind, length)) as connection:
            connection.sendall(body[:2_000_000] if "Content" in length else b"%x\r\n%b" % (len(body), body[:2_000_000]))
            until(lambda: set(stored(server)) - before)
        until(lambda: not set(stored(server)) - before, "half an upload stays")
    assert "Traceback" not in capfd.readouterr().err


def test_uploads_leave_some_of_the_disk(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(stored(server))
    usage = shutil.disk_usage(server.store.folder)

    def free(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size))

    free(0)
    full = upload(server, a_file("a.png"))
    assert full.status == 507 and b"no room" in full.body
    free(usage.total)
    monkeypatch.setattr(incoming_file, "LOOK", MEGABYTE)
    kind, body = form(('name="files"; filename="b.png"', b"x" * 3 * MEGABYTE))
    with closing(opened(server, "/gradio_api/upload", kind, f"Content-Length: {len(body)}")) as connection:
        connection.sendall(body[:MEGABYTE])
        until(lambda: set(stored(server)) - before)
        free(0)
        with suppress(OSError):
            connection.sendall(body[MEGABYTE:])
        assert answer(connection).status == 507
    until(lambda: not set(stored(server)) - before, "a refused upload stays")
    free(usage.total)
    assert upload(server, a_file("a.png")).status == 200


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
        assert said.status == 400, route


SPOOFED = ("X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "Forwarded: host=evil.example",
           "X-Forwarded-Prefix: /evil.example", "X-Original-URL: /evil.example", "X-Forwarded-Server: evil.example",
           "X-Direct-URL: http://evil.example")  # fmt: skip


def test_nobody_is_shown_a_host_that_another_named() -> None:
    """Programs copy addresses from there, and send pictures to them."""
    with served(HeldBackend(), server_name="127.0.0.1") as fresh:
        post(fresh, "/gradio_api/call/v2/chat", b'{"question": "x"}', SPOOFED[0])
        for path in ("/gradio_api/info", "/gradio_api/info/", "/gradio_api/info?all_endpoints=true", "/config", "/",
                     "/gradio_api/openapi.json", "/theme.css", "/manifest.json"):  # fmt: skip
            ask(fresh, path, *SPOOFED)
            said = ask(fresh, path)
            assert said.status == 200 and b"evil" not in said.body, path
        assert urlsplit(fresh.url).netloc.encode() in ask(fresh, "/gradio_api/info").body


@pytest.mark.parametrize(
    ("route", "body"),
    [("call/nothing", b'{"data": []}'), ("run/nothing", b'{"data": []}'), ("call/v2/nothing", b"{}"),
     ("call/v2/chat", b"{}"), ("call/v2/chat", b'{"question": "x", "y": 1}'), ("call/v2/chat", b"\xff{"),
     ("queue/join", b'{"data": [], "fn_index": 99999, "session_hash": "x"}'),
     ("queue/join", b'{"data": [], "fn_index": -1, "session_hash": "x"}'),
     ("run/predict", b'{"data": []}'), ("run/predict", b'{"data": [], "fn_index": 99999}')],
)  # fmt: skip
def test_an_event_that_is_none_is_refused_and_leaves_no_trace_in_the_log(
    server: Served, route: str, body: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    kind = () if b"\xff" in body else ("Content-Type: application/json",)
    said = ask(server, f"/gradio_api/{route}", *kind, method="POST", body=body)
    assert said.status == 400 and b"GET /gradio_api/info" in said.body
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("route", ["call/chat/nothing", "call/v2/chat/nothing", "queue/data?session_hash=nothing"])
def test_a_stream_that_is_none_ends_and_leaves_no_trace_in_the_log(
    server: Served, route: str, capfd: pytest.CaptureFixture[str]
) -> None:
    said = ask(server, f"/gradio_api/{route}")
    assert said.status == 200 and b"event: complete" not in said.body
    assert "Traceback" not in capfd.readouterr().err
