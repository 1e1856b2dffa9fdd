"""Streaming costs what is new and nothing else: old turns aren't sent again, and nobody waits for somebody's answer."""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.responses import Response
from starlette.routing import Route
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmarks.served import Pulse
from benchmarks.shapes import checkpoint
from benchmarks.stream import growth, updates
from benchmarks.talk import pictures
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.generation import Event, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from tests.ui.serving import EXAMPLES, HeldBackend, Wire, served
from tests.waiting import PATIENCE

TURNS, PICTURES = 20, 3


def bytes_beside_text(wire: Wire) -> float:
    return statistics.median(update.bytes - update.text for update in growth(updates(wire)))


def test_an_update_is_as_small_after_twenty_turns_as_after_none() -> None:
    with served(HeldBackend(delay=0.002, tokens=300)) as server:
        wire = Wire(server)
        before = bytes_beside_text(wire)
        for turn in range(TURNS):
            wire.ask("tell me", [wire.upload(EXAMPLES / "shapes.png")] if turn < PICTURES else [])
        assert bytes_beside_text(wire) < 1.2 * before
        wire.close()


class Stuck(HeldBackend):
    """Holds the thread that asks it, as a long prefill would."""

    def stream(self, request: Request) -> Iterator[Event]:
        self.live += 1
        self.answer.wait(PATIENCE)
        yield from super().stream(request)


def test_the_page_serves_others_while_an_answer_holds_its_thread() -> None:
    backend = Stuck()
    with served(backend) as server:
        one, other = Wire(server), Wire(server)
        one.send("hello")
        one.start_answer()
        listening = threading.Thread(target=lambda: next(m for m in one.messages() if m["msg"] == "process_completed"))
        listening.start()
        try:
            while not backend.live:
                httpx.get(f"{server.url}config", timeout=PATIENCE)
            for _ in range(5):
                assert httpx.get(f"{server.url}config", timeout=PATIENCE).status_code == 200
            assert "another" in str(other.send("another")[1])
        finally:
            backend.answer.set()
            listening.join(PATIENCE)
        assert not listening.is_alive()


@pytest.fixture
def on_the_loop() -> Iterator[list[bool]]:
    """For every module of a model that runs: whether an event loop was running in its thread."""
    found: list[bool] = []

    def note(*_: object) -> None:
        found.append(asyncio._get_running_loop() is not None)

    handle = register_module_forward_pre_hook(note)
    yield found
    handle.remove()


def test_no_model_runs_on_the_event_loop_which_beats_on(tmp_path: Path, on_the_loop: list[bool]) -> None:
    folder = checkpoint("tiny", tmp_path / "random-tiny")
    backend = LocalBackend(Settings(model=str(folder), device="cpu"), Limits())
    with served(backend) as server:  # type: ignore[arg-type]
        pulse = Pulse(server.blocks.app)

        async def read(_: object) -> Response:
            return pulse.read()

        server.blocks.app.router.routes.insert(0, Route("/robots.txt", read))  # a route that the guard knows
        wire = Wire(server)
        wire.send("what is it?", [wire.upload(item.path) for item in pictures(tmp_path, 3136, seed=1)])
        httpx.get(f"{server.url}robots.txt")
        event = wire.after(wire.event("box", "submit"))
        values = wire.defaults(event)
        values[event["inputs"].index(wire.id_of("knob-max_new_tokens"))] = 8
        wire.join(event, values)
        for message in wire.messages():
            if message["msg"] == "process_completed":
                break
        beats = httpx.get(f"{server.url}robots.txt").json()["beats"]
    backend.close()
    assert on_the_loop and not any(on_the_loop)
    assert beats > 20
