"""A page on a free port for tests, and a client that speaks Gradio's wire protocol as any stranger could."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from ovis_app.api import gradio_endpoints, mcp
from ovis_app.api.openai.routes import routes
from ovis_app.backend import Backend
from ovis_app.backends.fair_queue import FairQueue
from ovis_app.backends.fake import FakeBackend
from ovis_app.conversation import Stats
from ovis_app.generation import Answer, Done, Event, Request, Thinking
from ovis_app.settings import Settings
from ovis_app.ui import http_guard, page
from ovis_app.ui.http_hosts import visitors
from tests.waiting import PATIENCE, until

EXAMPLES = page.EXAMPLES


@dataclass
class HeldBackend(FakeBackend):
    """Thinks and answers word by word as a test lets it: a question with "held" thinks until `answer` is set, and
    answers until `finish` is."""

    answer: threading.Event = field(default_factory=threading.Event)
    finish: threading.Event = field(default_factory=threading.Event)

    def stream(self, request: Request) -> Iterator[Event]:
        if "held" not in request.conversation.messages[-1].text:
            yield from super().stream(request)
            return
        self.live += 1
        try:
            yield Thinking("I look at the picture. ")
            while not self.answer.wait(0.05):
                yield Thinking("")
            yield Answer("It is a circle. ")
            while not self.finish.wait(0.05):
                yield Answer("")
            yield Done("end", Stats(thinking_tokens=5, thinking_seconds=1.5))
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


@contextmanager
def served(backend: Backend, **changes: Any) -> Iterator[Served]:
    """The page and the API over this backend while the block runs, as `serve` puts them together."""
    settings = Settings(backend="fake", port=free_port(), **changes)
    limits = settings.limits()
    line = FairQueue(backend, limits, at_once=settings.at_once, most_waiting=settings.queue_size)
    store = page.store(limits)
    blocks = page.build(line, settings, limits, store)
    gradio_endpoints.add(blocks, line, limits, store, at_once=settings.asked_at_once)
    options = page.launch_options(settings, limits, store)
    options["app_kwargs"]["routes"] += routes(line, settings, limits, address=visitors(settings))
    _, url, _ = blocks.launch(**options, prevent_thread_lock=True, quiet=True)
    mcp.tools_alone(blocks)
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
    line = FairQueue(backend, limits, at_once=settings.at_once, most_waiting=settings.queue_size)

    store = page.store(limits)
    app = Starlette(
        routes=routes(line, settings, limits, address=visitors(settings)),
        middleware=[http_guard.middleware(settings, limits, store, EXAMPLES)],
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
    """One browser tab without a browser."""

    served: Served
    session: str = field(default_factory=lambda: uuid.uuid4().hex)

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

    def after(self, event: dict[str, Any]) -> dict[str, Any]:
        """What runs in Python after an event."""
        return next(d for d in self.config["dependencies"] if d["trigger_after"] == event["id"] and d["backend_fn"])

    def defaults(self, event: dict[str, Any]) -> list[Any]:
        """The inputs as they stand when nobody has touched the page."""
        props = {c["id"]: c["props"] for c in self.config["components"]}
        return [props[i].get("value") for i in event["inputs"]]

    def run(self, event: dict[str, Any], data: list[Any], event_data: Any = None) -> list[Any]:
        """An event outside the queue: its outputs."""
        body = {"fn_index": event["id"], "data": data, "session_hash": self.session, "event_data": event_data}
        answer = self.http.post("/run/predict", json=body)
        answer.raise_for_status()
        return list(answer.json()["data"])

    def open_models(self) -> list[Any]:
        """The panel of models is opened, which fills its list: nothing is sought, nothing chosen yet."""
        return self.run(self.event("model", "click"), ["", None])

    def join(self, event: dict[str, Any], data: list[Any]) -> httpx.Response:
        body = {"fn_index": event["id"], "data": data, "session_hash": self.session}
        return self.http.post("/queue/join", json=body)

    def messages(self) -> Iterator[dict[str, Any]]:
        """What the server says about this tab's events."""
        with self.http.stream("GET", "/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])

    def upload(self, path: Path) -> dict[str, Any]:
        with path.open("rb") as file:
            stored = self.http.post("/upload", files={"files": (path.name, file)}).json()[0]
        return {"path": stored, "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}

    def send(self, text: str, files: list[dict[str, Any]] | None = None) -> list[Any]:
        """Puts a question into the conversation, as Enter does."""
        return self.run(self.event("box", "submit"), [None, {"text": text, "files": files or []}])

    def start_answer(self) -> str:
        event = self.after(self.event("box", "submit"))
        return str(self.join(event, self.defaults(event)).json()["event_id"])

    def settle(self) -> list[Any]:
        """What the page asks for once an answer has ended."""
        return self.run(self.after(self.after(self.event("box", "submit"))), [None])

    def ask(self, text: str, files: list[dict[str, Any]] | None = None) -> list[Any]:
        """A question and its whole answer: the outputs after it."""
        self.send(text, files)
        self.start_answer()
        for message in self.messages():
            if message["msg"] == "process_completed":
                break
        return self.settle()


def texts(messages: list[dict[str, Any]]) -> list[str]:
    """What each row of the conversation says, as text or HTML."""
    parts = [part for message in messages for part in message["content"]]
    said = [part.get("text") or part.get("value") or part["file"] for part in parts]
    return [one if isinstance(one, str) else one["orig_name"] for one in said]
