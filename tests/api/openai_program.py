"""A program that asks our OpenAI-compatible API, and what it expects of an answer or an error."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import httpx

from ovis_app.generation import Request
from tests.ui.serving import EXAMPLES, Served
from tests.waiting import PATIENCE

KEYS = ("first-key-of-two", "second-key-of-two")
PICTURE = "data:image/png;base64," + base64.b64encode((EXAMPLES / "shapes.png").read_bytes()).decode()


def user(text: str, *urls: str, kind: str = "image_url") -> dict[str, Any]:
    parts = [{"type": kind, kind: {"url": url}} for url in urls]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def body(text: str = "hello", *urls: str, **changes: Any) -> dict[str, Any]:
    return {"messages": [user(text, *urls)], **changes}


@dataclass
class Program:
    """A program that asks, with or without a key."""

    served: Served
    key: str = ""

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self.http = httpx.Client(base_url=self.served.url, timeout=PATIENCE, headers=headers, verify=False)

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def ask(self, sent: Any, path: str = "v1/chat/completions") -> httpx.Response:
        content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        return self.http.post(path, content=content)

    def chunks(self, sent: dict[str, Any]) -> list[dict[str, Any]]:
        """What a stream says, without the mark of its end."""
        answer = self.ask({**sent, "stream": True})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line.startswith("data: ")]
        assert lines.pop() == "[DONE]"
        return [json.loads(line) for line in lines]


def asked(program: Program) -> Request:
    """What the backend was asked last."""
    request = program.served.backend.requests[-1]
    assert isinstance(request, Request)
    return request


def refused(answer: httpx.Response, status: int, *words: str) -> dict[str, Any]:
    """The error of an answer, which has the standard shape and one sentence."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith(".") and "\n" not in error["message"]
    for word in words:
        assert word in error["message"], error
    return dict(error)
