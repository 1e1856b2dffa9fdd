"""The page and its files are kept, so that asking again costs next to nothing; nobody gets what another asked for."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from ovis_app.ui import http_kept
from tests.ui.raw_http import Client, Said, ask, guarded, run, scope
from tests.ui.serving import Served

EVIL = "evil.example"


class Page:
    """Plays Gradio and its page: says by which host it was asked, and counts how often."""

    def __init__(self, body: bytes = b"") -> None:
        self.asked, self.body, self.status = 0, body, 200
        self.config: dict[str, Any] = {}
        self.share = False

    def get_blocks(self) -> Page:
        return self

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        body = self.body or repr(sorted(scope["headers"])).encode() + scope["query_string"] + b" " * 2000
        zipped = (b"accept-encoding", b"gzip") in scope["headers"]
        body = gzip.compress(body) if zipped else body
        headers = [(b"content-type", b"text/html"), (b"content-length", str(len(body)).encode())]
        headers += [(b"content-encoding", b"gzip")] if zipped else []
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body[:100], "more_body": True})
        await send({"type": "http.response.body", "body": body[100:]})


class Browser:
    """Asks a guard before that page."""

    def __init__(self, page: Page) -> None:
        self.page, self.guard = page, guarded(page, server_name="0.0.0.0")

    def get(self, path: str = "/", *headers: tuple[str, str], method: str = "GET", query: bytes = b"") -> Said:
        client = Client([b""])
        asked = scope(path, method, *headers) | {"app": self.page, "query_string": query}
        run(self.guard, asked, client.receive, client.send)
        start = client.got[0]
        named = {name.decode(): value.decode() for name, value in start["headers"]}
        return Said(start["status"], named, b"".join(one.get("body", b"") for one in client.got[1:]))


@pytest.fixture
def browser() -> Browser:
    return Browser(Page())


def test_what_was_asked_once_is_said_again_without_asking_gradio(browser: Browser) -> None:
    for path in ("/", "/config", "/theme.css", "/assets/index.js", "/static/fonts/a.woff2"):
        before = browser.page.asked
        first, second = browser.get(path), browser.get(path)
        assert (first.status, first.body) == (second.status, second.body)
        assert second.headers["content-security-policy"] == first.headers["content-security-policy"]
        assert browser.page.asked == before + 1


def test_what_may_differ_is_asked_anew(browser: Browser) -> None:
    """Who asks by another name, for another page or another part of it."""
    told = [
        {"headers": [("x-forwarded-host", EVIL)]},
        {"headers": [("x-forwarded-proto", "https")]},
        {"headers": [("x-gradio-server", f"http://{EVIL}")]},
        {"query": b"deep_link=x"},
        {"headers": [("range", "bytes=0-3")]},
        {"method": "HEAD"},
    ]
    browser.get()
    for number, one in enumerate(told, 2):
        browser.get("/", *one.get("headers", ()), method=one.get("method", "GET"), query=one.get("query", b""))  # type: ignore[misc, arg-type]
        assert browser.page.asked == number


def test_gradio_is_told_nothing_of_whoever_asks_first(browser: Browser) -> None:
    secret = [("cookie", "access-token=s3cret"), ("authorization", "Basic s3cret"), ("user-agent", "s3cret"),
              ("x-forwarded-for", "s3cret"), ("accept-language", "s3cret"), ("origin", "http://localhost")]  # fmt: skip
    assert browser.get("/", *secret).status == 200
    assert b"s3cret" not in browser.get().body and browser.page.asked == 1


def test_only_a_whole_answer_that_says_ok_is_kept(browser: Browser) -> None:
    browser.page.status = 500
    assert [browser.get().status, browser.get().status, browser.page.asked] == [500, 500, 2]
    browser.page.status = 200
    assert [browser.get().status, browser.get().status, browser.page.asked] == [200, 200, 3]


def test_another_page_in_its_place_is_seen_at_once(browser: Browser) -> None:
    browser.get()
    browser.page.config = {}
    browser.get()
    assert browser.page.asked == 2


def test_it_comes_compressed_to_whoever_takes_that() -> None:
    browser = Browser(Page(b"x" * 4000))
    plain = browser.get()
    for accepted in ("gzip", "br;q=1, GZIP ; q=0.5"):
        browser.get("/", ("accept-encoding", accepted))
        said = browser.get("/", ("accept-encoding", accepted))
        assert said.headers["content-encoding"] == "gzip" and gzip.decompress(said.body) == plain.body
        assert int(said.headers["content-length"]) == len(said.body) < len(plain.body)
    for accepted in ("", "identity", "gzip;q=0", "br, gzip;q=0.0"):
        said = browser.get("/", ("accept-encoding", accepted))
        assert "content-encoding" not in said.headers and said.body == plain.body


def test_all_that_is_kept_is_bounded(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks by a thousand hosts takes no more memory, and the page isn't forgotten for long ones."""
    monkeypatch.setattr(http_kept, "MOST", 5 * (http_kept.AROUND + 4000))
    browser.get()
    for number in range(50):
        browser.get("/", ("x-forwarded-host", f"{number}.example"))
        browser.get()
    assert browser.page.asked == 51
    browser.get("/", ("x-forwarded-host", "0.example"))
    assert browser.page.asked == 52  # the oldest ones went
    long = ("x-forwarded-host", "x" * 2000)
    browser.get("/", long)
    browser.get("/", long)
    assert browser.page.asked == 54
    browser.page.body = b"x" * (http_kept.LARGEST + 1)
    for _ in range(2):
        assert len(browser.get("/assets/large.wasm").body) == len(browser.page.body)
    assert browser.page.asked == 56


FORGED = ("X-Forwarded-Host", "X-Gradio-Server", "X-Forwarded-Server", "X-Original-Host", "Forwarded", "X-Host")


def test_a_forged_host_reaches_nobody_else(server: Served) -> None:
    for path in ("/", "/config", "/theme.css", "/robots.txt", "/gradio_api/info"):
        for name in FORGED:
            ask(server, path, f"{name}: {EVIL}", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /evil")
        said = ask(server, path)
        assert said.status == 200 and EVIL.encode() not in said.body and b"/evil" not in said.body


def test_the_page_is_the_one_that_gradio_makes(server: Served) -> None:
    first, again = ask(server, "/?first"), ask(server, "/?first")
    assert again.body == first.body and b"window.gradio_config" in first.body
    own = {name: first.headers[name] for name in ("date", "x-request-id")}
    assert first.headers == again.headers | own
