"""Several vLLM servers behind the nginx file that people are told to use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy import nginx
from tests.ui.serving import free_port
from tests.waiting import PATIENCE


class Scripted(BaseHTTPRequestHandler):
    """Says which server it is, and streams a word at a time as it is let."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = str(self.server.server_address[1]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")  # a server that is gone later is gone for everybody
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        self.wfile.flush()
        self.server.may_go_on.wait(PATIENCE)  # type: ignore[attr-defined]
        self.wfile.write(b"data: second\n\n")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[str, list[ThreadingHTTPServer]]]:
    nginx.required()
    with ExitStack() as stack:
        servers = [ThreadingHTTPServer(("127.0.0.1", 0), Scripted) for _ in range(2)]
        for server in servers:
            server.may_go_on = threading.Event()  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        port = free_port()
        changes = {f"10.0.0.1{n}:8000": f"127.0.0.1:{one.server_address[1]}" for n, one in enumerate(servers, 1)}
        changes["127.0.0.1:8080"] = f"127.0.0.1:{port}"
        stack.enter_context(nginx.running("vllm.conf", tmp_path, changes, port))
        yield f"http://127.0.0.1:{port}", servers


def test_a_conversation_stays_with_its_server_until_that_is_gone(two: tuple[str, list[ThreadingHTTPServer]]) -> None:
    address, servers = two

    sessions = [f"session-{number}" for number in range(24)]
    with httpx.Client(base_url=address, timeout=PATIENCE) as one:

        def who() -> dict[str, str]:
            return {name: one.get("/v1/models", headers={"x-session-id": name}).text for name in sessions}

        first = who()
        assert len(set(first.values())) == 2 and who() == first
        servers[0].shutdown()
        servers[0].server_close()
        assert who() == dict.fromkeys(sessions, str(servers[1].server_address[1]))


def test_without_a_conversation_whoever_has_least_to_do_is_asked_and_streams_pass(
    two: tuple[str, list[ThreadingHTTPServer]],
) -> None:
    address, servers = two
    with httpx.Client(base_url=address, timeout=PATIENCE) as one, one.stream("POST", "/v1/x", content=b"{}") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "data: first"  # while the answer isn't finished
        busy = {httpx.get(f"{address}/v1/models", timeout=PATIENCE).text for _ in range(6)}
        assert len(busy) == 1  # the other one
        for server in servers:
            server.may_go_on.set()  # type: ignore[attr-defined]
        assert "data: second" in list(lines)
