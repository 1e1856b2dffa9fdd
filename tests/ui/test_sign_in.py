"""Where people sign in, nothing is there for whoever didn't, and a password can't be tried without end."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio_client
import pytest

from ovis_app.accounts import accounts
from ovis_app.backends.fake import FakeBackend
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.ui import http_arrival, http_guard, page
from ovis_app.ui.http_hosts import client_address
from ovis_app.ui.http_sign_in import SIGNED_IN, SignIn, Tries
from tests.ui.raw_http import Client, Said, answer, ask, form, opened, run, scope
from tests.ui.serving import EXAMPLES, HeldBackend, Served, served
from tests.waiting import PATIENCE

PASSWORD = "hunter2 & co"
BASIC = "Authorization: Basic " + base64.b64encode(f"anna:{PASSWORD}".encode()).decode()
WRONG = "Authorization: Basic " + base64.b64encode(b"anna:guess").decode()
BROWSER = "Accept: text/html,application/xhtml+xml"


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Hashes that cost little: each of these tests makes some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ovis_app.accounts.COST", 10)
        patch.setattr("ovis_app.accounts.LANES", 1)
        yield


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    with served(HeldBackend(), auth=(f"anna:{PASSWORD}",)) as here:
        yield here


def sign_in(server: Served, password: str, *headers: str, name: str = "anna") -> Said:
    body = f"username={quote(name)}&password={quote(password)}".encode()
    kind = "Content-Type: application/x-www-form-urlencoded"
    return ask(server, "/login", kind, *headers, method="POST", body=body)


def cookie_of(said: Said) -> str:
    return "Cookie: " + said.headers["set-cookie"].partition(";")[0]


def every_route(server: Served) -> Iterator[tuple[str, str]]:
    """Each method and path that Gradio answers, filled in, and what the page asks for beside that."""
    routers = [
        server.blocks.app,
        *(route.original_router for route in server.blocks.app.routes if hasattr(route, "original_router")),
    ]
    for route in (route for router in routers for route in router.routes if hasattr(route, "path")):
        path = route.path.replace("{path_or_url:path}", str(EXAMPLES / "shapes.png"))
        for name in path.split("{")[1:]:
            path = path.replace("{" + name.partition("}")[0] + "}", "chat")
        for method in getattr(route, "methods", None) or ("GET",):
            yield method, path
    alike = ("/v1/models", "/metrics", "/healthzz", "/nothing", "/gradio_api/mcp/", "//", "/%63onfig")
    yield from (("GET", path) for path in alike)
    yield "POST", "/v1/chat/completions"


def test_nothing_is_there_without_signing_in(guarded: Served) -> None:
    routes = set(every_route(guarded))
    assert {("GET", "/config"), ("POST", "/gradio_api/upload"), ("GET", "/gradio_api/queue/data")} <= routes
    assert len(routes) > 60
    health = {(method, path) for method in ("GET", "HEAD") for path in ("/healthz", "/readyz")}
    for method, path in routes - health - {("POST", "/login"), ("POST", "/logout")}:
        said = ask(guarded, path, method=method, body=b"{}" if method == "POST" else b"")
        if path == "/gradio_api/startup-events" and method == "GET":
            assert said.body == b"false"  # whoever asks after Gradio itself changes nothing
            continue
        assert said.status == 401, (method, path)
        assert b"components" not in said.body and said.headers["cache-control"] == "no-store"
    stored = guarded.url, EXAMPLES / "left.png"
    assert ask(guarded, f"/gradio_api/file={quote(str(stored[1]))}").status == 401
    assert ask(guarded, f"/gradio_api/file={quote(str(stored[1]))}", BASIC).status == 200


def test_a_browser_is_shown_a_form_and_nothing_else(guarded: Served) -> None:
    said = ask(guarded, "/", BROWSER)
    assert said.status == 401 and b'action="login"' in said.body and b"<script" not in said.body
    assert "default-src 'none'" in said.headers["content-security-policy"]
    assert said.headers["www-authenticate"] == "Form"  # with Basic the browser would open a window of its own
    wrong = sign_in(guarded, "guess", BROWSER, name="<script>")
    assert wrong.status == 401 and b"wrong" in wrong.body and b"<script" not in wrong.body
    assert "set-cookie" not in wrong.headers


@pytest.mark.parametrize(
    ("languages", "lang"),
    [("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"), ("de, zh-TW;q=0.7", "zh-CN"), ("en-GB,zh;q=0.5", "en"), (",;;", "en")],
)
def test_the_form_speaks_the_language_of_the_browser(guarded: Served, languages: str, lang: str) -> None:
    wanted = f"Accept-Language: {languages}"
    said, wrong = (ask(guarded, "/", BROWSER, wanted), sign_in(guarded, "guess", BROWSER, wanted, name=f"x{languages}"))
    assert f'lang="{lang}"' in said.body.decode() and said.headers["vary"] == "Accept-Language"
    assert ("用户名" in said.body.decode()) == (lang != "en") and ("Password" in said.body.decode()) == (lang == "en")
    assert ("用户名或密码不对" if lang != "en" else "is wrong") in wrong.body.decode()


def test_signing_in_opens_everything_until_signing_out(guarded: Served) -> None:
    said = sign_in(guarded, PASSWORD, BROWSER)
    assert said.status == 303 and said.headers["location"] == "./"
    kept = cookie_of(said)
    assert b"gradio_config" in ask(guarded, "/", kept).body
    assert ask(guarded, "/config", kept).status == 200
    assert ask(guarded, "/login", kept).status == 303
    kind, body = form(('name="files"; filename="a.png"', (EXAMPLES / "left.png").read_bytes()))
    assert ask(guarded, "/gradio_api/upload", kind, method="POST", body=body).status == 401
    [stored] = json.loads(ask(guarded, "/gradio_api/upload", kind, kept, method="POST", body=body).body)
    assert ask(guarded, f"/gradio_api/file={quote(stored)}").status == 401
    assert ask(guarded, f"/gradio_api/file={quote(stored)}", kept).status == 200
    assert ask(guarded, "/gradio_api/process_recording", kept, method="POST", body=b"{}").status == 404
    foreign = ask(guarded, "/logout", kept, "Origin: https://evil.example", method="POST")
    assert foreign.status == 403 and ask(guarded, "/config", kept).status == 200
    assert ask(guarded, "/logout", kept, method="POST").status == 303
    assert ask(guarded, "/config", kept).status == 401


@pytest.mark.parametrize("made", ["ovis-{port}=", "ovis-{port}=x", "ovis-{port}=; ovis-{port}=y", "access-token=x"])
def test_a_cookie_that_was_made_up_opens_nothing(guarded: Served, made: str) -> None:
    port = guarded.url.rstrip("/").rpartition(":")[2]
    assert ask(guarded, "/config", "Cookie: " + made.format(port=port)).status == 401


def test_a_program_says_its_name_with_each_request(guarded: Served) -> None:
    assert ask(guarded, "/config", BASIC).status == 200
    for wrong in (WRONG, "Authorization: Basic !", "Authorization: Basic /w==", "Authorization: Basic", "X: y"):
        assert ask(guarded, "/config", wrong).status == 401
    assert ask(guarded, "/config", "Authorization: Bearer x").status == 401


def test_gradios_client_signs_in(guarded: Served) -> None:
    client = gradio_client.Client(guarded.url, auth=("anna", PASSWORD), verbose=False)
    assert "You said: hi" in client.predict("hi", None, api_name="/chat")
    with pytest.raises(gradio_client.exceptions.AuthenticationError):
        gradio_client.Client(guarded.url, verbose=False)


@pytest.mark.parametrize("body", [b"", b"username=anna", b"\xff\xfe", b"&" * 100, b"username=anna&" * 100])
def test_a_form_that_makes_no_sense_signs_nobody_in(guarded: Served, body: bytes) -> None:
    said = ask(guarded, "/login", "X-Forwarded-For: 192.0.2.7", method="POST", body=body)
    assert said.status in (400, 401, 429) and "set-cookie" not in said.headers and b"Traceback" not in said.body
    assert ask(guarded, "/login", method="POST", body=b"x" * 20_000).status == 413


# --- cookies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "changes", "parts"),
    [
        ([], {}, {"SameSite=lax", "Path=/"}),
        ([("origin", "https://localhost")], {}, {"SameSite=lax", "Path=/", "Secure"}),
        ([("x-forwarded-proto", "https")], {"root_path": "/chat"}, {"SameSite=lax", "Path=/chat", "Secure"}),
        ([("x-forwarded-proto", "https")], {"space": True}, {"SameSite=none", "Path=/", "Secure"}),
    ],
)
def test_the_cookie_is_for_the_page_alone(headers: list[Any], changes: dict[str, Any], parts: set[str]) -> None:
    client = Client([b"username=anna&password=x"])
    run(guard(**changes), scope("/login", "POST", *headers), client.receive, client.send)
    told = dict(client.got[0]["headers"])[b"set-cookie"].decode().split("; ")
    assert {part for part in told[1:] if not part.startswith("Max-Age")} == {"HttpOnly", *parts}


async def answering(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def guard(**changes: Any) -> Any:
    made = http_guard.middleware(Settings(auth=("anna:x",), **changes), Limits(), page.store(Limits()), EXAMPLES)
    return made.cls(answering, *made.args, **made.kwargs)


# --- trying passwords -----------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_failure_doubles_the_wait_and_time_forgives() -> None:
    clock = Clock()
    tries = Tries(clock)
    waits = []
    for _ in range(14):
        clock.now += tries.wait(("a",), 3)
        waits.append(tries.wait(("a",), 3))
        tries.count(("a",))
        waits[-1] = tries.wait(("a",), 3)
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    assert tries.wait(("b",), 3) == 0
    clock.now += 901
    assert tries.wait(("a",), 3) == 0
    tries.count(("a",))
    assert tries.wait(("a",), 3) == 0
    for number in range(20_000):
        tries.count((str(number),))
    assert len(tries._failed) == 10_000


def test_passwords_cannot_be_tried_without_end() -> None:
    """Nor can names, from one address."""
    clock = Clock()
    people = accounts(("anna:x",), "")
    assert people is not None
    door = SignIn(people, Settings(), frames="'self'", clock=clock)
    made = http_guard.middleware(Settings(), Limits(), page.store(Limits()), EXAMPLES)
    whole = made.cls(answering, **{**made.kwargs, "sign_in": door})

    def status(password: str, peer: str = "192.0.2.7", name: str = "anna") -> int:
        client = Client([f"username={name}&password={password}".encode()])
        run(whole, scope("/login") | {"client": (peer, 1)}, client.receive, client.send)
        if client.got[0]["status"] == 429:
            assert int(dict(client.got[0]["headers"])[b"retry-after"]) >= 1
        return int(client.got[0]["status"])

    assert [status("guess") for _ in range(7)] == [401] * 5 + [429] * 2
    assert status("x") == 429  # the right one isn't looked at either, or the wait would tell nothing
    assert status("x", "192.0.2.8") == 200  # somebody else isn't kept waiting
    clock.now += 1.1
    assert status("guess") == 401 and status("x") == 429
    clock.now += 2.1
    assert status("x") == 200 and status("guess") == 401
    assert [status("x", "192.0.2.9") for _ in range(60)] == [200] * 60  # who knows it may come as often as they like
    assert [status("guess", "192.0.2.10", f"name{number}") for number in range(52)] == [401] * 50 + [429] * 2


def test_who_tries_by_ipv4_keeps_nobody_else_from_it() -> None:
    """Where a proxy listens for both, it names IPv4 addresses as IPv6 ones, which all lie in one network."""
    guarded = guard(trusted_proxies=("127.0.0.1",))

    def status(password: str, address: str) -> int:
        client = Client([f"username=anna&password={password}".encode()])
        asked = scope("/login", "POST", ("x-forwarded-for", address)) | {"client": ("127.0.0.1", 1)}
        run(guarded, asked, client.receive, client.send)
        return int(client.got[0]["status"])

    assert [status("guess", "::ffff:192.0.2.7") for _ in range(7)] == [401] * 5 + [429] * 2
    assert status("x", "::ffff:192.0.2.8") == 200


def test_a_form_that_trickles_is_refused(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_arrival, "PATIENCE", 0.3)
    with closing(opened(guarded, "/login", "Content-Length: 100")) as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(b"username=")
        assert answer(connection).status == 408


def test_a_sign_in_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    people = accounts(("anna:x",), "")
    assert people is not None
    made = http_guard.middleware(Settings(), Limits(), page.store(Limits()), EXAMPLES)
    whole = made.cls(answering, **{**made.kwargs, "sign_in": SignIn(people, Settings(), frames="x", clock=clock)})
    client = Client([b"username=anna&password=x"])
    run(whole, scope("/login"), client.receive, client.send)
    cookie = dict(client.got[0]["headers"])[b"set-cookie"].decode().partition(";")[0]
    for later, status in ((SIGNED_IN - 1, 200), (SIGNED_IN + 1, 401)):
        clock.now = later
        client = Client([b""])
        run(whole, scope("/config", "GET", ("cookie", cookie)), client.receive, client.send)
        assert client.got[0]["status"] == status


def test_failures_are_logged_with_the_address_and_without_what_was_typed(
    guarded: Served, caplog: pytest.LogCaptureFixture
) -> None:
    # The name may be a password that was typed into the wrong field.
    sign_in(guarded, "my-secret", "X-Forwarded-For: 198.51.100.9", name="other-secret")
    sign_in(guarded, PASSWORD)
    [record] = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert record.getMessage() == "A sign-in failed, from 127.0.0.1."
    assert "secret" not in caplog.text and PASSWORD not in caplog.text


def test_behind_a_trusted_proxy_the_address_is_the_visitors(caplog: pytest.LogCaptureFixture) -> None:
    with served(HeldBackend(), auth=("anna:x",), trusted_proxies=("127.0.0.0/8",)) as server:
        sign_in(server, "guess", "X-Forwarded-For: 203.0.113.1, 198.51.100.9")
    assert "A sign-in failed, from 198.51.100.9." in caplog.text


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", ["203.0.113.1"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("::ffff:10.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.1, 10.0.0.2"], "203.0.113.1"),
        ("10.0.0.1", ["203.0.113.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("2001:db8::1", ["203.0.113.1"], "203.0.113.1"),
        ("::ffff:192.0.2.1", [], "192.0.2.1"),
        ("10.0.0.1", ["::ffff:203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["2001:DB9:0::1"], "2001:db9::1"),
        (None, ["203.0.113.1"], ""),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.1:5678"], "203.0.113.1"),  # as some write them
        ("10.0.0.1", ["1.1.1.1, [2001:DB9::1]:5678, 10.0.0.2:80"], "2001:db9::1"),
        ("10.0.0.1", ['"[2001:db9::1]"'], "2001:db9::1"),
        ("10.0.0.1", ["203.0.113.1:junk"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1, 10.0.0.2" + ", 10.0.0.3" * 9000], "10.0.0.3"),  # no matter how many they are
    ],
)
def test_an_address_counts_as_far_as_proxies_are_trusted(peer: str | None, forwarded: list[str], address: str) -> None:
    asked = {
        "client": (peer, 1) if peer else None,
        "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded],
    }
    assert client_address(asked, Settings(trusted_proxies=("10.0.0.0/8", "2001:db8::/32"))) == address


# --- where nobody has to --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, False),
        ({"server_name": "0.0.0.0"}, True),
        ({"share": True}, True),
        ({"share": True, "auth": ("anna:x",)}, False),
        ({"server_name": "0.0.0.0", "auth_file": "people"}, False),
        ({"server_name": "0.0.0.0", "space": True}, False),
    ],
)
def test_the_page_says_that_nobody_has_to_sign_in_where_that_is_true(changes: dict[str, Any], line: bool) -> None:
    settings = Settings(backend="fake", **changes)
    built = str(page.build(FakeBackend(), settings, Limits(), page.store(Limits())).get_config_file())
    assert ("Nobody has to sign in" in built) is line
    assert ("Sign out" in built) is settings.sign_in


def test_a_public_link_that_asks_nobody_is_said_in_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    http_guard.middleware(Settings(share=True), Limits(), page.store(Limits()), EXAMPLES)
    [record] = caplog.records
    assert record.levelno == logging.WARNING and "public link" in record.getMessage()
    assert "--auth-file" in record.getMessage()
    http_guard.middleware(
        Settings(share=True, server_name="0.0.0.0", auth=("anna:x",)), Limits(), page.store(Limits()), EXAMPLES
    )
    assert len(caplog.records) == 1


# --- programs with keys ---------------------------------------------------------------------------------------------

KEY = "a-key-of-the-api"
BEARER = f"Authorization: Bearer {KEY}"


def test_a_key_opens_the_api_and_nothing_else() -> None:
    with served(HeldBackend(), auth=("anna:x",), api_key=(KEY,)) as server:
        assert ask(server, "/v1/models", BEARER).status == 200
        for path in ("/config", "/", "/gradio_api/info", f"/gradio_api/file={EXAMPLES / 'left.png'}"):
            assert ask(server, path, BEARER).status == 401, path
        assert ask(server, "/v1/../config", BEARER).status == 404
        for header in ("X: y", "Authorization: Bearer wrong-key", BASIC):
            said = ask(server, "/v1/models", header)
            assert said.status == 401 and "error" in json.loads(said.body)
        assert ask(server, "/tokenize", method="POST", body=b"{}").status == 401


def test_without_keys_those_who_sign_in_have_the_api(guarded: Served) -> None:
    assert ask(guarded, "/v1/models", BASIC).status == 200
    said = ask(guarded, "/v1/models", BEARER)
    assert said.status == 401 and "error" in json.loads(said.body)
    with served(HeldBackend(), auth=(f"anna:{PASSWORD}",), server_name="0.0.0.0") as server:
        assert ask(server, "/v1/models", BASIC).status == 200 and ask(server, "/v1/models").status == 401
