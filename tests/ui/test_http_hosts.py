"""Which names the page answers to, which sites may post, and whose host nobody is shown."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

import pytest

from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.ui import http_guard, page
from tests.ui.raw_http import Client, ask, guarded, nothing, post, run, scope
from tests.ui.serving import EXAMPLES, HeldBackend, Served, served


def test_another_name_is_answered_only_where_it_is_allowed(server: Served) -> None:
    port = urlsplit(server.url).port
    for good in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost", "LOCALHOST", "app.localhost", "[::1]:1"):
        assert ask(server, "/config", host=good).status == 200, good
    for bad in (f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example", "10.0.0.1",
                "localhost@evil.example", "0.0.0.0", "localhost#evil.example", "local\thost", "localhost?",
                "localhost\\evil.example", "localhost:80/evil.example"):  # fmt: skip
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


SPOOFED = ("X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "Forwarded: host=evil.example",
           "X-Forwarded-Prefix: /evil.example", "X-Original-URL: /evil.example", "X-Forwarded-Server: evil.example",
           "X-Direct-URL: http://evil.example")  # fmt: skip


def test_nobody_is_shown_a_host_that_another_named() -> None:
    """Programs copy addresses from there, and send pictures to them."""
    with served(HeldBackend(), server_name="127.0.0.1") as fresh:
        post(fresh, "/gradio_api/call/v2/chat", b'{"question": "x"}', SPOOFED[0])
        for path in ("/gradio_api/info", "/gradio_api/info/", "/gradio_api/info?all_endpoints=true", "/config", "/",
                     "/gradio_api/openapi.json", "/theme.css", "/robots.txt"):  # fmt: skip
            ask(fresh, path, *SPOOFED)
            said = ask(fresh, path)
            assert said.status == 200 and b"evil" not in said.body, path
        assert urlsplit(fresh.url).netloc.encode() in ask(fresh, "/gradio_api/info").body
