"""Bodies are counted as they come, and no client takes all memory, threads or places."""

from __future__ import annotations

import base64
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette

from ovis_app.api.openai import serving
from ovis_app.api.openai.routes import routes
from ovis_app.generation import Request
from ovis_app.settings import Settings
from tests.api.openai_program import KEYS, Program, body, refused
from tests.ui.raw_http import run
from tests.ui.serving import HeldBackend, Served, served_api
from tests.waiting import PATIENCE, until


def test_bodies_are_counted_as_they_come() -> None:
    with served_api(HeldBackend(), api_bytes=200_000) as there:
        program = Program(there)
        refused(program.ask(body("x" * 200_000)), 413)
        pieces = (b'{"a": "', *[b"x" * 10_000] * 30)
        refused(program.http.post("v1/chat/completions", content=iter(pieces)), 413)
        refused(program.ask(b"[" + b"{}," * 30_000 + b"{}]"), 413)
        assert program.ask(body("x" * 150_000)).status_code == 200


def test_a_large_body_keeps_nobody_waiting(program: Program) -> None:
    """A picture of many megabytes in JSON: read, refused by its content, while others ask."""
    large = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20_000_000)).decode()
    sending = threading.Thread(target=lambda: refused(program.ask(body("x", large)), 400, "image 1"))
    sending.start()
    assert Program(program.served).ask(body()).status_code == 200
    sending.join(PATIENCE)
    assert not sending.is_alive()


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the parts of requests that were taken in, as they come."""
    taken: list[int] = []
    add = serving.Load.add

    def counted(load: serving.Load, size: int) -> None:
        add(load, size)
        taken.append(size)

    monkeypatch.setattr(serving.Load, "add", counted)
    return taken


@contextmanager
def served_part(served: Served, size: int, key: str = "") -> Iterator[None]:
    """A request of which `size` bytes were sent, and the rest isn't while the block runs."""
    place = urlsplit(served.url)
    with socket.create_connection((place.hostname, place.port), timeout=PATIENCE) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {size + 1}\r\n"
        head += f"Authorization: Bearer {key}\r\n\r\n"
        connection.sendall(head.encode() + b'{"a": "' + b"x" * (size - 7))
        yield


def test_requests_that_are_on_their_way_take_only_so_much_memory(
    monkeypatch: pytest.MonkeyPatch, arrived: list[int]
) -> None:
    """Of what is still being sent; running answers hold none of it."""
    monkeypatch.setattr(serving, "REQUESTS", 2)
    backend = HeldBackend()
    with served_api(backend, api_bytes=300_000) as there, served_part(there, 200_000):
        until(lambda: sum(arrived) >= 200_000)
        answer = Program(there).ask(body("x" * 150_000))
        refused(answer, 503, "Too much", "again")
        assert int(answer.headers["retry-after"]) > 0
        until(lambda: Program(there).ask(body("x" * 50_000)).status_code == 200)  # what was refused is let go of first
    backend = HeldBackend()
    with served_api(backend, api_bytes=300_000) as there:
        held = threading.Thread(target=Program(there).ask, args=(body("held" + "x" * 150_000),), daemon=True)
        held.start()
        until(lambda: backend.live == 1)
        for _ in range(3):
            until(lambda: Program(there).ask(body("x" * 170_000)).status_code == 200)
        backend.answer.set(), backend.finish.set()
        held.join(PATIENCE)


def test_a_body_in_small_parts_takes_no_more_memory() -> None:
    settings, left = Settings(), 60_000
    api = Starlette(routes=routes(HeldBackend(), settings, settings.limits()))
    asked = {"type": "http", "method": "POST", "path": "/tokenize", "headers": [], "query_string": b"", "root_path": ""}

    async def receive() -> dict[str, Any]:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": left.to_bytes(3, "big"), "more_body": left > 0}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 400) == 400

    tracemalloc.start()
    try:
        run(api, asked, receive, send)
        assert tracemalloc.get_traced_memory()[1] < 1_500_000
    finally:
        tracemalloc.stop()


def test_one_client_leaves_memory_to_the_others(monkeypatch: pytest.MonkeyPatch, arrived: list[int]) -> None:
    """However much it sends, and however slowly."""
    monkeypatch.setattr(serving, "REQUESTS", 2)
    with served_api(HeldBackend(), api_bytes=300_000, api_key=KEYS) as there:
        one, two = (Program(there, key) for key in KEYS)
        with ExitStack() as parts:
            for _ in range(2):
                parts.enter_context(served_part(there, 290_000, KEYS[0]))
                until(lambda: sum(arrived) >= 290_000)
            until(lambda: one.ask(body("x" * 150_000)).status_code == 503)
            until(lambda: two.ask(body("x" * 100_000)).status_code == 200)  # what is refused is let go


def test_counting_that_takes_long_keeps_no_answer_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does where the tokens are counted by another server."""
    backend, counting, go_on = HeldBackend(), threading.Semaphore(0), threading.Event()

    def count(_: Request) -> int:
        counting.release()
        go_on.wait()
        return 1

    monkeypatch.setattr(backend, "count", count)
    with served_api(backend) as there:
        asking = [
            threading.Thread(target=Program(there).ask, args=(body(), "tokenize"), daemon=True)
            for _ in range(serving.COUNTERS - 1)
        ]
        for one in asking:
            one.start()
        try:
            assert all(counting.acquire(timeout=PATIENCE) for _ in asking)
            assert Program(there).ask(body()).status_code == 200
        finally:
            go_on.set()
        for one in asking:
            one.join(PATIENCE)


def test_a_full_queue_is_429() -> None:
    backend = HeldBackend()
    with served_api(backend, engine="solo", queue_size=1) as there:
        programs = [Program(there) for _ in range(5)]
        asking = [threading.Thread(target=one.ask, args=(body("held"),), daemon=True) for one in programs]
        for thread in asking:
            thread.start()
        until(lambda: backend.live == 4)

        def full() -> bool:
            with Program(there).http.stream("POST", "v1/chat/completions", json=body("held", stream=True)) as answer:
                if answer.status_code != 429:
                    return False
                answer.read()
                refused(answer, 429, "try again")
                return int(answer.headers["retry-after"]) > 0

        # The fifth may not be in the line yet; whoever is there too early leaves again.
        until(full)
        backend.answer.set(), backend.finish.set()
        for thread in asking:
            thread.join(PATIENCE)
