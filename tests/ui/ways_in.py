"""The two ways in, the page and /v1, as one: questions whose answers come bit by bit and can be left."""

from __future__ import annotations

import base64
import json
import socket
import uuid
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.ui.raw_http import connect, opened
from tests.ui.serving import Served
from tests.waiting import PATIENCE

Heard = Generator[tuple[str, str]]  # ("answer", more words), at the end ("done", "") or ("failed", a sentence)
Way = Callable[..., Heard]


def by_page(server: Served, text: str, files: Sequence[Path] = (), **more: Any) -> Heard:
    """A tab's question. Without a word of it heard, nothing was asked yet."""
    with httpx.Client(base_url=f"{server.url}gradio_api", timeout=PATIENCE) as http:
        paths = [http.post("/upload", files={"files": (one.name, one.read_bytes())}).json()[0] for one in files]
        parts = [{"type": "image_url", "image_url": {"url": f"/gradio_api/file={path}"}} for path in paths]
        content: Any = [*parts, {"type": "text", "text": text}]
        request = {"messages": [{"role": "user", "content": content}], **more}
        joined = http.post("/call/ask", json={"data": [{"session": uuid.uuid4().hex, "request": request}]})
        if joined.status_code != 200:
            yield "failed", joined.json()["error"]
            return
        yield "begun", ""
        with http.stream("GET", f"/call/ask/{joined.json()['event_id']}") as stream:
            for line in stream.iter_lines():
                frame = json.loads(line[6:])[0] if line.startswith("data: [{") else {"kind": ""}
                if frame["kind"] in ("answer", "thinking", "done", "failed"):
                    yield frame["kind"], frame.get("sentence") or frame["text"]


def by_v1(server: Served, text: str, files: Sequence[Path] = (), **more: Any) -> Heard:
    """A program's question, whose answer is streamed."""
    data = [base64.b64encode(one.read_bytes()).decode() for one in files]
    parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{one}"}} for one in data]
    sent = {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}], "stream": True, **more}
    yield "begun", ""
    with httpx.stream("POST", f"{server.url}v1/chat/completions", json=sent, timeout=PATIENCE) as answer:
        if answer.status_code != 200:
            yield "failed", json.loads(answer.read())["error"]["message"]
            return
        for line in answer.iter_lines():
            chunk = json.loads(line[6:]) if line.startswith("data: {") else {}
            if "error" in chunk:
                yield "failed", chunk["error"]["message"]
            for choice in chunk.get("choices", ()):
                said = choice["delta"].get("content") or choice["delta"].get("reasoning")
                if said:
                    yield "answer", said
                if choice["finish_reason"]:
                    yield "done", ""


def held_open(server: Served, way: Way, text: str, **more: Any) -> socket.socket:
    """A question whose connection is open and stays unread: who asked it leaves by closing it."""
    request = {"messages": [{"role": "user", "content": text}], "stream": True, **more}
    if way is by_v1:
        body = json.dumps(request).encode()
        connection = opened(server, "/v1/chat/completions", f"Content-Length: {len(body)}")
        connection.sendall(body)
        return connection
    asked = {"data": [{"session": uuid.uuid4().hex, "request": request}]}
    joined = httpx.post(f"{server.url}gradio_api/call/ask", json=asked, timeout=PATIENCE).json()
    connection, place = connect(server), server.url.split("/")[2]
    connection.sendall(f"GET /gradio_api/call/ask/{joined['event_id']} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
    return connection


def end(heard: Heard) -> tuple[str, str]:
    """How it ends: done or failed, and with what."""
    *_, last = heard
    return last


def until_words(heard: Heard) -> None:
    """Listens until something is said."""
    for kind, said in heard:
        assert kind != "failed", said
        if kind in ("answer", "thinking"):
            return
    raise AssertionError("nothing was said")
