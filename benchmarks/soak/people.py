"""People of the page and programs of /v1, who ask the same way: turns of a conversation with a picture, heard to the
end or left midway. Knows both protocols; refuses to know what is measured.
"""

from __future__ import annotations

import base64
import json
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.ui.serving import Served, Wire

PATIENCE = 120.0  # seconds that an answer may take
SIDE = 160  # pixels of a picture's side
LIVELY = 1.0  # temperature: the likeliest token of random weights is always the same one, which may be no text at all
BROKE_OFF = "The answer broke off."

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Heard:
    """One answer: its words, seconds to the first of them, the sentence of a failure, whether the server said that it
    is whole, and whether the listener left before. What neither ended nor was left has failed."""

    text: str = ""
    first: float | None = None
    failed: str = ""
    ended: bool = False
    left: bool = False


class Person(ABC):
    """Somebody who asks one question after another, and keeps what was said."""

    def turn(
        self, text: str, files: Sequence[Path] = (), *, tokens: int, leave: int | None = None, seed: int | None = None
    ) -> Heard:
        """Asks after all that was said. With `leave` the connection is closed after so many pieces of the answer, if it
        isn't over by then. With a `seed` the same is answered each time that the same is asked."""
        heard = Heard()
        drawn = {"max_tokens": tokens, "temperature": LIVELY, **({} if seed is None else {"seed": seed})}
        try:
            with closing(self.answer(text, files, drawn)) as answer:
                for number, heard in enumerate(answer):
                    if leave is not None and number >= leave and not heard.ended and not heard.failed:
                        return replace(heard, left=True)
        except httpx.HTTPError as error:
            return replace(heard, failed=f"{type(error).__name__}: {error}", ended=False)
        return heard if heard.ended or heard.failed else replace(heard, failed=BROKE_OFF)

    @abstractmethod
    def remembered(self) -> Messages:
        """All that was said, as it is sent with the next question."""

    @abstractmethod
    def come_back(self, said: Messages, files: Sequence[Path]) -> None:
        """Goes on with what somebody else said, whose first question was about these files."""

    @abstractmethod
    def answer(self, text: str, files: Sequence[Path], drawn: Mapping[str, float]) -> Iterator[Heard]:
        """What was heard after each piece. An answer that ended is kept for the next question."""

    @abstractmethod
    def open(self) -> AbstractContextManager[Person]: ...


def picture(folder: Path, seed: int) -> Path:
    """A picture that is like no other."""
    path = folder / f"{seed}.png"
    Image.frombytes("RGB", (SIDE, SIDE), random.Random(seed).randbytes(3 * SIDE * SIDE)).save(path)
    return path


@dataclass
class Tab(Person):
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

    def remembered(self) -> Messages:
        return self.wire.said

    def come_back(self, said: Messages, files: Sequence[Path]) -> None:
        """Another session's uploads aren't this one's: they are sent anew, as a browser does."""
        first, *rest = said
        again = self.wire.asked(first["content"][-1]["text"], [self.upload(one)[0] for one in files])
        self.wire.said = [*again["request"]["messages"], *rest]

    def answer(self, text: str, files: Sequence[Path], drawn: Mapping[str, float]) -> Iterator[Heard]:
        sent = [self.upload(one) for one in files]
        refused = [sentence for _, sentence in sent if sentence]
        if refused:
            yield Heard(failed=refused[0])
            return
        asked = self.wire.asked(text, [path for path, _ in sent], **drawn)
        begun = time.perf_counter()
        joined = self.wire.join(asked)
        if joined.status_code != 200:
            yield Heard(failed=joined.text)
            return
        heard = Heard()
        with closing(self.wire.frames(str(joined.json()["event_id"]))) as frames:
            for frame in frames:
                heard = self._taken(heard, frame, time.perf_counter() - begun)
                yield heard
        if heard.ended:
            self.wire.said = [*asked["request"]["messages"], {"role": "assistant", "content": heard.text or "…"}]

    def upload(self, path: Path) -> tuple[str, str]:
        """Where the file lies from now on, or why it isn't taken."""
        with path.open("rb") as file:
            answer = self.wire.http.post("/upload", files={"files": (path.name, file)})
        return ("", answer.text) if answer.status_code != 200 else (str(answer.json()[0]), "")

    def _taken(self, heard: Heard, frame: dict[str, Any], seconds: float) -> Heard:
        first = seconds if heard.first is None and frame["kind"] in ("answer", "thinking") else heard.first
        if frame["kind"] == "done":
            return Heard(frame["text"], first, ended=True)
        if frame["kind"] in ("failed", "missing"):
            return Heard(failed=frame.get("sentence") or "a file is missing")
        return replace(heard, first=first)


@dataclass
class Program(Person):
    """A program that asks by /v1 and gets its answers as streams."""

    url: str
    said: Messages = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator[Program]:
        with httpx.Client(base_url=self.url, timeout=PATIENCE) as self._http:
            yield self

    def remembered(self) -> Messages:
        return self.said

    def come_back(self, said: Messages, files: Sequence[Path]) -> None:
        self.said = list(said)

    def answer(self, text: str, files: Sequence[Path], drawn: Mapping[str, float]) -> Iterator[Heard]:
        pictures = [base64.b64encode(one.read_bytes()).decode() for one in files]
        parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{one}"}} for one in pictures]
        messages = [*self.said, {"role": "user", "content": [*parts, {"type": "text", "text": text}]}]
        sent = {"messages": messages, "stream": True, **drawn}
        begun, heard = time.perf_counter(), Heard()
        with self._http.stream("POST", "v1/chat/completions", json=sent) as answer:
            if answer.status_code != 200:
                answer.read()
                yield Heard(failed=answer.json()["error"]["message"])
                return
            for chunk in chunks(answer):
                heard = self._taken(heard, chunk, time.perf_counter() - begun)
                yield heard
        if heard.ended:
            self.said = [*messages, {"role": "assistant", "content": heard.text or "…"}]

    def _taken(self, heard: Heard, chunk: dict[str, Any], seconds: float) -> Heard:
        if "error" in chunk:
            return Heard(failed=chunk["error"]["message"])
        choice = chunk["choices"][0] if chunk["choices"] else {}
        delta = choice.get("delta") or {}
        more = delta.get("content") or ""
        first = seconds if heard.first is None and (more or delta.get("reasoning")) else heard.first
        ended = heard.ended or choice.get("finish_reason") is not None
        return replace(heard, text=heard.text + more, first=first, ended=ended)


def chunks(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def person(url: str, number: int) -> Tab | Program:
    """Every other one is a program."""
    return Program(url) if number % 2 else Tab(url)
