"""People of the page and programs of /v1, who ask the same way: turns of a conversation with a picture, heard to the
end or left midway. Knows both protocols; refuses to know what is measured.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
from PIL import Image

from tests.ui.serving import Served, Wire

PATIENCE = 120.0  # seconds that an answer may take
SIDE = 160  # pixels of a picture's side


@dataclass(frozen=True)
class Heard:
    """One answer: its words, seconds to the first of them, and the sentence of a failure. Left answers have no end."""

    text: str = ""
    first: float | None = None
    failed: str = ""


class Person(Protocol):
    def turn(self, text: str, files: Sequence[Path] = (), *, tokens: int, leave: int | None = None) -> Heard:
        """Asks after all that was said. With `leave` the connection is closed after so many pieces of the answer."""
        ...


def picture(folder: Path, seed: int) -> Path:
    """A picture that is like no other."""
    path = folder / f"{seed}.png"
    Image.frombytes("RGB", (SIDE, SIDE), random.Random(seed).randbytes(3 * SIDE * SIDE)).save(path)
    return path


@dataclass
class Tab:
    """A tab of the page without a browser, which keeps its connection open as a real one does."""

    url: str
    wire: Wire = field(init=False)

    def __post_init__(self) -> None:
        self.wire = Wire(Served(self.url, None, None))
        self.wire.http.timeout = httpx.Timeout(PATIENCE)

    @contextmanager
    def open(self) -> Iterator[Tab]:
        with closing(self.wire), self.wire.http.stream("GET", f"/heartbeat/{self.wire.session}"):
            yield self

    def turn(self, text: str, files: Sequence[Path] = (), *, tokens: int, leave: int | None = None) -> Heard:
        sent = [self.upload(one) for one in files]
        refused = [sentence for _, sentence in sent if sentence]
        if refused:
            return Heard(failed=refused[0])
        asked = self.wire.asked(text, [path for path, _ in sent], max_tokens=tokens)
        begun = time.perf_counter()
        joined = self.wire.join(asked)
        if joined.status_code != 200:
            return Heard(failed=joined.text)
        heard = Heard()
        with closing(self.wire.frames(str(joined.json()["event_id"]))) as frames:
            for number, frame in enumerate(frames):
                if leave is not None and number >= leave:
                    return heard
                heard = self._taken(heard, frame, time.perf_counter() - begun)
        if not heard.failed:
            self.wire.said = [*asked["request"]["messages"], {"role": "assistant", "content": heard.text or "…"}]
        return heard

    def upload(self, path: Path) -> tuple[str, str]:
        """Where the file lies from now on, or why it isn't taken."""
        with path.open("rb") as file:
            answer = self.wire.http.post("/upload", files={"files": (path.name, file)})
        return ("", answer.text) if answer.status_code != 200 else (str(answer.json()[0]), "")

    def _taken(self, heard: Heard, frame: dict[str, Any], seconds: float) -> Heard:
        first = seconds if heard.first is None and frame["kind"] in ("answer", "thinking", "done") else heard.first
        if frame["kind"] == "done":
            return Heard(frame["text"], first)
        if frame["kind"] in ("failed", "missing"):
            return Heard(failed=frame.get("sentence") or "a file is missing")
        return Heard(heard.text, first)


@dataclass
class Program:
    """A program that asks by /v1 and gets its answers as streams."""

    url: str
    said: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator[Program]:
        with httpx.Client(base_url=self.url, timeout=PATIENCE) as self._http:
            yield self

    def turn(self, text: str, files: Sequence[Path] = (), *, tokens: int, leave: int | None = None) -> Heard:
        pictures = [base64.b64encode(one.read_bytes()).decode() for one in files]
        parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{one}"}} for one in pictures]
        messages = [*self.said, {"role": "user", "content": [*parts, {"type": "text", "text": text}]}]
        sent = {"messages": messages, "max_tokens": tokens, "stream": True}
        begun, heard = time.perf_counter(), Heard()
        with self._http.stream("POST", "v1/chat/completions", json=sent) as answer:
            if answer.status_code != 200:
                answer.read()
                return Heard(failed=answer.json()["error"]["message"])
            for number, chunk in enumerate(chunks(answer)):
                if leave is not None and number >= leave:
                    return heard
                if "error" in chunk:
                    return Heard(failed=chunk["error"]["message"])
                delta = chunk["choices"][0]["delta"] if chunk["choices"] else {}
                more = delta.get("content") or ""
                said = more or delta.get("reasoning")
                first = time.perf_counter() - begun if heard.first is None and said else heard.first
                heard = Heard(heard.text + more, first)
        self.said = [*messages, {"role": "assistant", "content": heard.text or "…"}]
        return heard


def chunks(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def person(url: str, number: int) -> Tab | Program:
    """Every other one is a program."""
    return Program(url) if number % 2 else Tab(url)
