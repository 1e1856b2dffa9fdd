"""A client that leaves stops its work, and one that waits long gets signs of life."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from ovis_app.api.openai import files, replies
from ovis_app.generation import Event, Request, Waiting
from ovis_app.stop import Stop
from tests.api.openai_program import Program, body
from tests.ui.serving import HeldBackend, Served, served_api
from tests.waiting import PATIENCE, until


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("text", ["held", "long"])
def test_a_client_that_leaves_stops_the_work(stream: bool, text: str) -> None:
    """While it waits for the first word, or in the middle of the answer."""
    backend = HeldBackend(delay=0.02, tokens=100_000)
    with served_api(backend) as there:
        place = urlsplit(there.url)
        content = json.dumps(body(text, stream=stream)).encode()
        with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as connection:
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            connection.sendall(head.encode() + content)
            until(lambda: backend.live == 1)
            if stream and text == "long":
                assert b"200" in connection.recv(100)
        until(lambda: backend.live == 0, "nobody stopped it")


def test_a_client_that_leaves_while_its_picture_is_fetched_stops_that(monkeypatch: pytest.MonkeyPatch) -> None:
    fetching, ended = threading.Event(), threading.Event()

    def fetch(*_: object, stop: Stop, **__: object) -> None:
        fetching.set()
        until(stop.is_set)
        ended.set()
        stop.check()

    monkeypatch.setattr(files, "fetch", fetch)
    backend = HeldBackend()
    with served_api(backend, allow_urls=True) as there:
        place, content = urlsplit(there.url), json.dumps(body("look", "http://example.org/x.png")).encode()
        with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as connection:
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            connection.sendall(head.encode() + content)
            until(fetching.is_set)
        until(ended.is_set)
        assert Program(there).ask(body()).status_code == 200
        assert len(backend.requests) == 1


def test_a_client_that_leaves_in_the_middle_of_its_request_is_no_error(
    here: Served, caplog: pytest.LogCaptureFixture
) -> None:
    place = urlsplit(here.url)
    with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 1000\r\n\r\n{{"
        connection.sendall(head.encode())
    assert Program(here).ask(body()).status_code == 200
    assert "Traceback" not in caplog.text


@dataclass
class Slow(HeldBackend):
    """Says nothing until `answer` is set."""

    def stream(self, request: Request) -> Iterator[Event]:
        while not self.answer.wait(0.02):
            yield Waiting("Reading")
        yield from super().stream(request)


def test_a_stream_that_waits_long_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no proxy takes it for dead; before that a refusal has its own status."""
    monkeypatch.setattr(replies, "HOLD_SECONDS", 0.3)
    monkeypatch.setattr(replies, "HEARTBEAT_SECONDS", 0.1)
    backend = Slow()
    with (
        served_api(backend) as there,
        Program(there).http.stream("POST", "v1/chat/completions", json=body(stream=True)) as answer,
    ):
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(4)] == [": waiting", "", ": waiting", ""]
        backend.answer.set()
        rest = "".join(lines)
        assert "hello" in rest and rest.endswith("data: [DONE]")
