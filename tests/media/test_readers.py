"""Threads that read what clients attached: nobody has all, and nobody waits without end."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import anyio
import pytest

from ovis_app.errors import Busy
from ovis_app.media.readers import Readers
from tests.waiting import PATIENCE

T = TypeVar("T")


def in_a_loop(work: Callable[[], Awaitable[T]]) -> T:
    """In a thread of its own: a browser's test before this one has left a loop in ours."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(anyio.run, work).result()


def test_one_client_leaves_some_to_the_others_and_whoever_waits_too_long_is_told() -> None:
    gate, begun = threading.Event(), threading.Semaphore(0)

    def hold() -> None:
        begun.release()
        gate.wait(PATIENCE)

    async def asked() -> list[str]:
        readers, told = Readers(3, each=2, patience=0.2), []

        async def greedy() -> None:
            await readers.run(hold, client="greedy")

        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(greedy)
            await anyio.to_thread.run_sync(lambda: [begun.acquire(timeout=PATIENCE) for _ in range(2)])
            with pytest.raises(Busy, match="try again"):
                await readers.run(hold, client="greedy")
            told.append(await readers.run(lambda: "read", client="other"))
            gate.set()
        told.append(await readers.run(lambda: "again", client="greedy"))
        return told

    assert in_a_loop(asked) == ["read", "again"]


def test_what_fails_gives_its_place_back() -> None:
    async def asked() -> str:
        readers = Readers(1, each=1, patience=0.2)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await readers.run(lambda: 1 // 0, client="a")
        with anyio.move_on_after(0):
            await readers.run(lambda: None, client="a")
        return await readers.run(lambda: "read", client="b")

    assert in_a_loop(asked) == "read"
