"""The page behind the nginx file that people are told to use."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from ovis_app.settings import Settings
from tests.browser.test_page import SHAPES, ask, figures
from tests.deploy import nginx
from tests.deploy.lines import compose, unit
from tests.deploy.test_files import read
from tests.ui.serving import HeldBackend, Served, free_port, served
from tests.waiting import PATIENCE

HOST = "chat.example.org"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    nginx.required()
    folder = tmp_path_factory.mktemp("certificate")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-subj", f"/CN={HOST}", "-days", "1", "-keyout", "privkey.pem", "-out", "fullchain.pem"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return folder


@contextmanager
def published(given: Settings, certificate: Path, folder: Path) -> Iterator[tuple[Served, str]]:
    """A page that is started so, behind nginx: the page itself, and its public address."""
    secure, plain = free_port(), free_port()
    with served(
        HeldBackend(), auth=("anna:x",), root_path=given.root_path, allowed_hosts=given.allowed_hosts,
        trusted_proxies=("127.0.0.1",), model_choice=given.model_choice,
    ) as server:  # fmt: skip
        changes = {
            "listen 443 ssl": f"listen 127.0.0.1:{secure} ssl",
            "listen 80;": f"listen 127.0.0.1:{plain};",
            "server 127.0.0.1:7860;": f"server {urlsplit(server.url).netloc};",
            "/etc/ssl/ovis": str(certificate),
        }
        with nginx.running("page.conf", folder, changes, secure):
            yield server, f"https://{HOST}:{secure}"


@pytest.fixture(scope="module")
def behind(certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    """The page as the unit starts it."""
    given = read(unit()["ExecStart"][0].split()[2:])
    assert given.trusted_proxies == ("127.0.0.1",)
    with published(given, certificate, tmp_path_factory.mktemp("nginx")) as found:
        yield found


@contextmanager
def client(address: str, **options: Any) -> Iterator[httpx.Client]:
    """Asks the nginx of this machine by the public name."""
    port = urlsplit(address).port
    headers = {"host": f"{HOST}:{port}", **options.pop("headers", {})}
    with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=False, headers=headers, timeout=PATIENCE) as one:
        yield one


def test_a_person_signs_in_and_asks_through_nginx(browser: Any, behind: tuple[Served, str]) -> None:
    server, address = behind
    with browser.new_context(ignore_https_errors=True, reduced_motion="reduce") as context:
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE * 1000)
        missing: list[str] = []
        tab.goto(f"{address}/chat")
        tab.get_by_label("Name").fill("anna")
        tab.get_by_label("Password").fill("x")
        tab.get_by_role("button", name="Sign in").click()
        tab.on("response", lambda response: missing.append(response.url) if response.status >= 400 else None)
        tab.wait_for_selector("#box textarea")
        assert tab.url == f"{address}/chat/"
        ask(tab, "What is it?", [SHAPES])
        assert tab.evaluate("document.querySelector('.user-row img').naturalWidth") > 0
        tab.fill("#box textarea", "held")
        tab.press("#box textarea", "Enter")
        server.backend.answer.set()
        tab.wait_for_selector("text=It is a circle")  # before the answer ends
        server.backend.finish.set()
        figures(tab, 2)
        [cookie] = context.cookies()
        assert cookie["path"] == "/chat" and cookie["secure"] and cookie["httpOnly"]
        assert missing == []
        tab.get_by_role("button", name="Sign out").click()
        tab.wait_for_selector("input[type=password]")
        assert tab.url == f"{address}/chat/"


def test_nothing_else_is_there(behind: tuple[Served, str]) -> None:
    _, address = behind
    with client(address) as one:
        assert [one.get(f"/chat/{name}").status_code for name in ("healthz", "readyz")] == [200, 200]
        assert one.get("/chat/").status_code == 401 and one.get("/chat/config").status_code == 401
        assert one.get("/config").status_code == one.get("/").status_code == 404
        assert one.get("/chat/config", auth=("anna", "x")).json()["root"] == f"{address}/chat"
        for spelling in ("/chat/../config", "/chat/%2e%2e/config", "/chat//config", "/chat/gradio_api/proxy=http://x"):
            assert one.get(spelling, auth=("anna", "x")).status_code in (400, 404)
        evil = {"origin": "https://evil.example"}
        assert one.post("/chat/gradio_api/queue/join", headers=evil, auth=("anna", "x"), json={}).status_code == 403
    with client(address, headers={"host": "evil.example"}) as one:
        assert one.get("/chat/config", auth=("anna", "x")).status_code == 421


def test_a_visitor_cannot_make_up_an_address(behind: tuple[Served, str], caplog: pytest.LogCaptureFixture) -> None:
    _, address = behind
    with client(address, headers={"x-forwarded-for": "203.0.113.9"}) as one:
        assert one.get("/chat/config", auth=("anna", "guess")).status_code == 401
    assert "A sign-in failed, from 127.0.0.1." in caplog.text


def test_a_question_is_answered_by_the_page_that_compose_starts(certificate: Path, tmp_path: Path) -> None:
    """Through nginx, and on this machine without it."""
    given = read(compose()["services"]["page"]["command"])
    asked = {"session": "a-tab-of-its-own", "request": {"messages": [{"role": "user", "content": "Hello"}]}}
    with (
        published(given, certificate, tmp_path) as (server, address),
        client(address) as outside,
        httpx.Client(base_url=server.url, timeout=PATIENCE) as here,
    ):
        for one in (outside, here):
            one.auth = ("anna", "x")
            assert one.get("/chat/").status_code == 200
            event = one.post("/chat/gradio_api/call/ask", json={"data": [asked]}).json()["event_id"]
            assert "You said: Hello" in one.get(f"/chat/gradio_api/call/ask/{event}").text
        assert here.get("/readyz").status_code == 200  # as compose asks after its health
