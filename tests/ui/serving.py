"""A page on a free port for tests, and a client that speaks Gradio's wire protocol as any stranger could."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from ovis_app.api import gradio_endpoints, mcp
from ovis_app.api.openai.routes import routes
from ovis_app.api.operation import Operation
from ovis_app.backend import Backend
from ovis_app.backends.fair_queue import FairQueue
from ovis_app.backends.fake import FakeBackend
from ovis_app.conversation import Stats
from ovis_app.generation import Answer, Done, Event, Request, Thinking
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.ui import http_guard, http_heads, page
from ovis_app.ui.http_hosts import visitors
from tests.waiting import PATIENCE, until

EXAMPLES = page.EXAMPLES


@dataclass
class HeldBackend(FakeBackend):
    """Thinks and answers word by word as a test lets it: a question with "held" thinks until `answer` is set, and
    answers until `finish` is. `pages` is what is said of a picture, by its name; after "held" once `finish` is set."""

    answer: threading.Event = field(default_factory=threading.Event)
    finish: threading.Event = field(default_factory=threading.Event)
    pages: dict[str, Sequence[str]] = field(default_factory=dict)

    def stream(self, request: Request) -> Iterator[Event]:
        names = [one.label for one in request.conversation.messages[-1].media]
        if len(names) == 1 and names[0] in self.pages:
            self.requests.append(request)
            yield from self._page(self.pages[names[0]])
            return
        if "held" not in request.conversation.messages[-1].text:
            yield from super().stream(request)
            return
        self.live += 1
        ended = threading.Event()
        if request.haste is not None:
            request.haste.offer(512, ended.set)
        try:
            yield Thinking("I look at the picture. ", 5)
            while not self.answer.wait(0.05) and not ended.is_set():
                yield Thinking("")
            yield Answer("It is a circle. ")
            while not self.finish.wait(0.05):
                yield Answer("")
            yield Done("end", Stats(thinking_tokens=5, thinking_seconds=1.5))
        finally:
            self.live -= 1

    def _page(self, pieces: Sequence[str]) -> Iterator[Event]:
        self.live += 1
        try:
            for piece in pieces:
                while piece == "held" and not self.finish.wait(0.05):
                    yield Answer("")
                yield Answer("" if piece == "held" else piece)
            yield Done("end", Stats(answer_tokens=len(pieces)))
        finally:
            self.live -= 1


@dataclass(frozen=True)
class Served:
    url: str
    backend: Any
    blocks: Any
    store: Any = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def programs(operation: Operation, line: Backend, settings: Settings, limits: Limits) -> list[Route]:
    """What programs ask, as `serve` has it."""
    told = operation.tell
    return [*operation.routes(line), *routes(line, settings, limits, address=visitors(settings), tell=told)]


@contextmanager
def served(backend: Backend, /, **changes: Any) -> Iterator[Served]:
    """The page and the API over this backend while the block runs, as `serve` puts them together."""
    settings = Settings(**{"backend": "fake", "port": free_port(), **changes})
    limits = settings.limits()
    operation = Operation(settings)
    places = {"at_once": settings.at_once, "most_waiting": settings.queue_size}
    line = FairQueue(backend, limits, **places, tell=operation.tell)
    store = page.store(limits)
    blocks = page.build(line, settings, limits, store, tell=operation.tell)
    gradio_endpoints.add(blocks, line, limits, store, at_once=settings.asked_at_once, tell=operation.tell)
    options = page.launch_options(settings, limits, store, tell=operation.tell)
    options["app_kwargs"]["routes"] += programs(operation, line, settings, limits)
    _, url, _ = blocks.launch(**options, prevent_thread_lock=True, quiet=True)
    mcp.tools_alone(blocks)
    http_heads.install(blocks.server.config)
    try:
        yield Served(url, backend, blocks, store)
    finally:
        blocks.close(verbose=False)
        store.close()


@contextmanager
def served_api(backend: Backend, **changes: Any) -> Iterator[Served]:
    """The API behind its guard without the page, which takes two seconds to open."""
    listening = socket.create_server(("127.0.0.1", 0))  # kept, so that nobody else gets the port meanwhile
    settings = Settings(**{"backend": "fake", "port": listening.getsockname()[1], **changes})
    limits = settings.limits()
    operation = Operation(settings)
    places = {"at_once": settings.at_once, "most_waiting": settings.queue_size}
    line = FairQueue(backend, limits, **places, tell=operation.tell)

    store = page.store(limits)
    app = Starlette(
        routes=programs(operation, line, settings, limits),
        middleware=[http_guard.middleware(settings, limits, store, EXAMPLES, tell=operation.tell)],
    )
    server = uvicorn.Server(uvicorn.Config(app, port=settings.port, http="h11", log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield Served(f"http://127.0.0.1:{settings.port}/", backend, app, store)
    finally:
        store.close()
        server.should_exit = True
        thread.join(PATIENCE)


@dataclass
class Wire:
    """One browser tab without a browser: it keeps what was said, and asks with all of it."""

    served: Served
    session: str = field(default_factory=lambda: uuid.uuid4().hex)
    said: list[dict[str, Any]] = field(default_factory=list)  # as /v1 has messages

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.served.url + "gradio_api", timeout=PATIENCE)
        self.config = httpx.get(self.served.url + "config", timeout=PATIENCE).json()

    def close(self) -> None:
        self.http.close()

    def id_of(self, elem_id: str) -> int:
        return next(c["id"] for c in self.config["components"] if c["props"].get("elem_id") == elem_id)

    def event(self, elem_id: str, name: str, *, python: bool = True) -> dict[str, Any]:
        """The event of a component that runs Python, or the one that doesn't."""
        wanted = [self.id_of(elem_id), name]
        return next(d for d in self.config["dependencies"] if wanted in d["targets"] and d["backend_fn"] == python)

    def named(self, name: str) -> dict[str, Any]:
        """One of the events that the page's modules call."""
        return next(d for d in self.config["dependencies"] if d["api_name"] == name)

    def defaults(self, event: dict[str, Any]) -> list[Any]:
        """The inputs as they stand when nobody has touched the page."""
        props = {c["id"]: c["props"] for c in self.config["components"]}
        return [props[i].get("value") for i in event["inputs"]]

    def run(self, event: dict[str, Any], data: list[Any]) -> list[Any]:
        """An event outside the queue: its outputs."""
        body = {"fn_index": event["id"], "data": data, "session_hash": self.session}
        answer = self.http.post("/run/predict", json=body)
        answer.raise_for_status()
        return list(answer.json()["data"])

    def upload(self, path: Path) -> str:
        """Where the file lies from now on."""
        with path.open("rb") as file:
            return str(self.http.post("/upload", files={"files": (path.name, file)}).json()[0])

    def call(self, name: str, asked: Any) -> dict[str, Any]:
        """What one of the endpoints says that the page's modules call."""
        body = {"data": [asked], "session_hash": self.session}
        return dict(self.http.post(f"/run/{name}", json=body).json()["data"][0])

    def bring(self, path: str) -> dict[str, Any]:
        """What the server says of an upload."""
        return self.call("bring", {"session": self.session, "upload": path})

    def offers(self, card: str = "") -> dict[str, Any]:
        """What the panel of models has to choose from, here or on a card."""
        return self.call("offers", {"card": card})

    def asked(self, text: str, files: Sequence[str] = (), **more: Any) -> dict[str, Any]:
        """A question after all that was said, as the page sends it."""
        parts = [{"type": "image_url", "image_url": {"url": f"/gradio_api/file={path}"}} for path in files]
        content: Any = [*parts, {"type": "text", "text": text}] if parts else text
        messages = [*self.said, {"role": "user", "content": content}]
        return {"session": self.session, "request": {"messages": messages, **more}}

    def join(self, asked: dict[str, Any], *, of: str = "ask") -> httpx.Response:
        return self.http.post(f"/call/{of}", json={"data": [asked]})

    def start(self, text: str, files: Sequence[str] = (), **more: Any) -> str:
        """Asks, and says under which name the answer comes."""
        return str(self.join(self.asked(text, files, **more)).json()["event_id"])

    def frames(self, event: str, *, of: str = "ask") -> Iterator[dict[str, Any]]:
        """The frames of an answer, as they come."""
        with self.http.stream("GET", f"/call/{of}/{event}") as stream:
            kind = ""
            for line in stream.iter_lines():
                kind = line[7:] if line.startswith("event: ") else kind
                if line.startswith("data: ") and kind == "generating":
                    yield json.loads(line[6:])[0]

    def ask(self, text: str, files: Sequence[str] = (), **more: Any) -> dict[str, Any]:
        """A question and its whole answer: the last frame."""
        asked = self.asked(text, files, **more)
        last = list(self.frames(str(self.join(asked).json()["event_id"])))[-1]
        self.said = [*asked["request"]["messages"], {"role": "assistant", "content": last.get("text", "")}]
        return last
