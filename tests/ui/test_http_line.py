"""Short requests wait in a line that is fair between visitors, and streams hold no place in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ovis_app.ui import http_line
from ovis_app.ui.http_line import CROWDED
from tests.ui.raw_http import guarded, run, scope
from tests.waiting import PATIENCE


class Slow:
    """An app whose answers end when a test says so. Knows in which order it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let: dict[str, asyncio.Event] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        name = dict(scope["headers"]).get(b"x-name", b"").decode()
        self.asked.append(name)
        end = self.let.setdefault(name, asyncio.Event())
        if "queue/data" not in scope["path"]:
            await end.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await end.wait()
        await send({"type": "http.response.body", "body": b""})


class Crowd:
    """Visitors of a guard before a slow app."""

    def __init__(self, **changes: Any) -> None:
        self.app = Slow()
        self.guard = guarded(self.app, **changes)
        self.tasks: dict[str, asyncio.Task[list[dict[str, Any]]]] = {}
        self.gone: dict[str, asyncio.Event] = {}

    def ask(
        self,
        name: str,
        path: str = "/gradio_api/app_id",
        method: str = "GET",
        *,
        peer: str = "127.0.0.1",
        forwarded: str = "",
    ) -> None:
        headers = [("x-name", name)] + ([("x-forwarded-for", forwarded)] if forwarded else [])
        where, _, query = path.partition("?")
        asked = scope(where, method, *headers)
        asked |= {"client": (peer, 1000 + len(self.tasks)), "query_string": query.encode()}
        self.tasks[name] = asyncio.create_task(self._answered(name, asked))

    async def _answered(self, name: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
        got: list[dict[str, Any]] = []
        left = self.gone.setdefault(name, asyncio.Event())
        bodies = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, Any]:
            if bodies:
                return bodies.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            got.append(message)

        await self.guard(asked, receive, send)
        return got

    async def end(self, name: str) -> list[dict[str, Any]]:
        """Lets one be answered, and says how it was."""
        self.app.let[name].set()
        async with asyncio.timeout(PATIENCE):
            return await self.tasks[name]

    def leave(self, name: str) -> None:
        self.gone[name].set()

    async def settled(self) -> None:
        """Until all have gone as far as they go."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody loses a place because a test takes long."""
    monkeypatch.setattr(http_line, "HELD", 3600.0)
    monkeypatch.setattr(http_line, "AT_ONCE", 4)


def in_a_crowd(work: Callable[[Crowd], Coroutine[Any, Any, None]], **changes: Any) -> None:
    async def whole() -> None:
        crowd = Crowd(**changes)
        try:
            await work(crowd)
        finally:
            await crowd.close()

    run(whole)


PROXY = {"trusted_proxies": ("127.0.0.1",)}
FLOODER, OTHER = "203.0.113.7", "198.51.100.9"
MANY = 50


@pytest.mark.parametrize(
    ("changes", "flooder", "other"),
    [
        (PROXY, {"forwarded": FLOODER}, {"forwarded": OTHER}),
        ({}, {"peer": FLOODER}, {"peer": OTHER}),
        ({}, {"path": "/gradio_api/app_id?session_hash=flood"}, {"path": "/gradio_api/app_id?session_hash=other"}),
    ],
    ids=["forwarded", "peer", "session"],
)
def test_another_is_served_next_whatever_one_has_waiting(
    changes: dict[str, Any], flooder: dict[str, str], other: dict[str, str]
) -> None:
    async def work(crowd: Crowd) -> None:
        for number in range(MANY):
            crowd.ask(f"flood {number}", **flooder)
        await crowd.settled()
        begun = list(crowd.app.asked)
        assert len(begun) == http_line.AT_ONCE
        crowd.ask("other", **other)
        crowd.ask("other too", **other)
        await crowd.end("flood 0")
        await crowd.settled()
        assert crowd.app.asked[len(begun) :] == ["other"]
        await crowd.end("flood 1")
        await crowd.end("flood 2")
        await crowd.settled()
        assert set(crowd.app.asked[len(begun) :]) == {"other", "other too", f"flood {http_line.AT_ONCE}"}

    in_a_crowd(work, **changes)


def test_programs_that_name_no_session_are_one_whatever_connections_they_open() -> None:
    async def work(crowd: Crowd) -> None:
        for number in range(MANY):
            crowd.ask(f"flood {number}", "/gradio_api/cancel", "POST")
        await crowd.settled()
        for name in ("tab", "tab too"):
            crowd.ask(name, "/gradio_api/cancel?session_hash=tab", "POST")
        await crowd.end("flood 0")
        await crowd.settled()
        assert crowd.app.asked[http_line.AT_ONCE :] == ["tab"]
        await crowd.end("flood 1")
        await crowd.end("flood 2")
        await crowd.settled()
        assert set(crowd.app.asked[http_line.AT_ONCE :]) == {"tab", "tab too", f"flood {http_line.AT_ONCE}"}

    in_a_crowd(work)


def test_all_are_answered_in_the_end_and_nobody_forever_passed_by_new_names() -> None:
    """Names of sessions are made up: who has a new one each time passes nobody who waits."""

    async def work(crowd: Crowd) -> None:
        for number in range(MANY):
            crowd.ask(f"first {number}", f"/gradio_api/app_id?session_hash=first{number}")
        await crowd.settled()
        crowd.ask("known", "/gradio_api/app_id?session_hash=first0")
        ended = 0
        while "known" not in crowd.app.asked:
            name = crowd.app.asked[ended]
            crowd.ask(f"new {ended}", f"/gradio_api/app_id?session_hash=new{ended}")
            await crowd.end(name)
            await crowd.settled()
            ended += 1
            assert ended < 2 * MANY
        while ended < len(crowd.app.asked):
            await crowd.end(crowd.app.asked[ended])
            await crowd.settled()
            ended += 1
        assert ended == len(crowd.tasks)

    in_a_crowd(work)


def test_streams_hold_no_place() -> None:
    async def work(crowd: Crowd) -> None:
        for number in range(3 * http_line.AT_ONCE):
            crowd.ask(f"stream {number}", f"/gradio_api/queue/data?session_hash=s{number}")
        await crowd.settled()
        assert len(crowd.app.asked) == 3 * http_line.AT_ONCE
        crowd.ask("short")
        await crowd.settled()
        assert "short" in crowd.app.asked

    in_a_crowd(work)


def test_what_takes_long_gives_its_place_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_line, "HELD", 0.01)

    async def work(crowd: Crowd) -> None:
        for number in range(2 * http_line.AT_ONCE):
            crowd.ask(f"long {number}")
        async with asyncio.timeout(PATIENCE):
            while len(crowd.app.asked) < 2 * http_line.AT_ONCE:
                await asyncio.sleep(0.005)

    in_a_crowd(work)


def test_a_visitor_who_has_too_many_waiting_is_told_so_and_others_are_not() -> None:
    async def work(crowd: Crowd) -> None:
        for number in range(http_line.AT_ONCE + http_line.OF_ONE + 1):
            crowd.ask(f"flood {number}", forwarded=FLOODER)
        await crowd.settled()
        start, body = (await crowd.tasks[f"flood {http_line.AT_ONCE + http_line.OF_ONE}"])[:2]
        assert start["status"] == 429 and int(dict(start["headers"])[b"retry-after"]) > 0
        assert body["body"].decode() == CROWDED
        crowd.ask("other", forwarded=OTHER)
        await crowd.end("flood 0")
        await crowd.settled()
        assert crowd.app.asked[-1] == "other" and not crowd.tasks["other"].done()

    in_a_crowd(work, **PROXY)


def test_where_the_line_is_full_whoever_has_most_waiting_makes_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_line, "WAITING", 20)

    async def work(crowd: Crowd) -> None:
        for number in range(http_line.AT_ONCE + 20):
            crowd.ask(f"flood {number}", peer=FLOODER)
        await crowd.settled()
        crowd.ask("probe", "/healthz", peer=FLOODER)  # whoever watches isn't told to wait
        crowd.ask("scrape", "/metrics")
        await crowd.settled()
        assert crowd.app.asked[-2:] == ["probe", "scrape"]
        crowd.ask("other", peer=OTHER)
        crowd.ask("one more", peer=FLOODER)
        await crowd.settled()
        told = [name for name, task in crowd.tasks.items() if task.done()]
        assert len(told) == 2 and "one more" in told and "other" not in told
        assert [crowd.tasks[name].result()[0]["status"] for name in told] == [429, 429]
        await crowd.end("flood 0")
        await crowd.settled()
        assert crowd.app.asked[-1] == "other"

    in_a_crowd(work, metrics="here")


def test_who_leaves_the_line_is_not_asked_for() -> None:
    async def work(crowd: Crowd) -> None:
        for number in range(http_line.AT_ONCE + 2):
            crowd.ask(f"one {number}")
        await crowd.settled()
        crowd.leave(f"one {http_line.AT_ONCE}")
        await crowd.end("one 0")
        await crowd.settled()
        assert crowd.app.asked[-1] == f"one {http_line.AT_ONCE + 1}"
        assert f"one {http_line.AT_ONCE}" not in crowd.app.asked

    in_a_crowd(work)


def test_a_place_is_free_again_when_its_holder_is_cut_off() -> None:
    async def work(crowd: Crowd) -> None:
        for number in range(2 * http_line.AT_ONCE):
            crowd.ask(f"one {number}")
        await crowd.settled()
        for number in range(http_line.AT_ONCE + 1):  # all that are worked on, and the first that waits
            crowd.tasks[f"one {number}"].cancel()
        await crowd.settled()
        assert crowd.app.asked[-3:] == [
            f"one {number}" for number in range(http_line.AT_ONCE + 1, 2 * http_line.AT_ONCE)
        ]

    in_a_crowd(work)
