"""Nobody keeps a place, or memory, by sending a body slowly, or a part of one."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Protocol

import pytest

from ovis_app.ui import http_arrival, http_coming, http_guard, http_uploads
from ovis_app.ui.http_bodies import Refused
from ovis_app.ui.http_coming import Body, Coming
from ovis_app.ui.http_line import Who
from tests.api.openai_program import Program, body
from tests.ui.raw_http import MEGABYTE, Said, a_file, answer, form, opened, stored, upload
from tests.ui.serving import HeldBackend, Served, served_api
from tests.waiting import PATIENCE, until

EVENT, API, UPLOAD = "/gradio_api/run/ask", "/v1/chat/completions", "/gradio_api/upload"
KIND, FILE = form(('name="files"; filename="a.png"', b"x" * 100_000))


class Begin(Protocol):
    """Sends a part of a body, of which `size` bytes are announced."""

    def __call__(self, there: Served, route: str, part: bytes, size: int) -> socket.socket: ...


@pytest.fixture
def begin() -> Iterator[Begin]:
    with ExitStack() as stack:

        def begun(there: Served, route: str, part: bytes, size: int) -> socket.socket:
            kind = KIND if route == UPLOAD else "Content-Type: application/json"
            connection = stack.enter_context(closing(opened(there, route, kind, f"Content-Length: {size}")))
            connection.sendall(part)
            return connection

        yield begun


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A body is slow at once."""
    monkeypatch.setattr(http_coming, "BEGINNING", 0.0)
    return monkeypatch


def first_said(connections: list[socket.socket]) -> Said:
    """What one of them is answered, which isn't among them any more."""
    ready, _, _ = select.select(connections, [], [], PATIENCE)
    connections.remove(ready[0])
    return answer(ready[0])


def coming(there: Served) -> int:
    return len([path for path in stored(there) if path.name == "coming"])


@pytest.mark.parametrize("route", [EVENT, API])
def test_much_that_came_buys_no_silence(monkeypatch: pytest.MonkeyPatch, begin: Begin, route: str) -> None:
    monkeypatch.setattr(http_arrival, "PATIENCE", 0.5)
    with served_api(HeldBackend()) as there:
        assert answer(begin(there, route, b"[" + b" " * 2 * MEGABYTE, 3 * MEGABYTE)).status == 408


def test_parts_of_bodies_take_only_so_much_memory(impatient: pytest.MonkeyPatch, begin: Begin) -> None:
    impatient.setattr(http_guard, "HELD", 3 * MEGABYTE)
    with served_api(HeldBackend()) as there:
        two = [begin(there, EVENT, b" " * 2 * MEGABYTE, 2 * MEGABYTE + 2) for _ in range(2)]
        said = first_said(two)
        assert said.status == 408 and said.headers["connection"] == "close"
        two[0].sendall(b"{}")
        assert answer(two[0]).status not in (408, 429)


def test_parts_of_questions_keep_no_other_question_out(impatient: pytest.MonkeyPatch, begin: Begin) -> None:
    with served_api(HeldBackend(), api_bytes=300_000) as there:
        assert first_said([begin(there, API, b" " * 290_000, 299_000) for _ in range(4)]).status == 408
        assert Program(there).ask(body("x" * 150_000)).status_code == 200


def test_so_many_uploads_at_a_time_and_no_more(monkeypatch: pytest.MonkeyPatch, begin: Begin) -> None:
    monkeypatch.setattr(http_coming, "BEGINNING", 1e9)
    monkeypatch.setattr(http_uploads, "AT_ONCE", 2)
    with served_api(HeldBackend()) as there:
        held = [begin(there, UPLOAD, FILE[:50_000], len(FILE)) for _ in range(2)]
        until(lambda: coming(there) == 2)
        said = answer(begin(there, UPLOAD, FILE[:50_000], len(FILE)))
        assert said.status == 429 and int(said.headers["retry-after"]) > 0 and b"try again" in said.body
        assert upload(there, a_file("b.png")).status == 200, "what is all there at once needs no place"
        for connection in held:
            connection.sendall(FILE[50_000:])
            assert answer(connection).status == 200


def test_the_slowest_upload_makes_way_where_all_places_are_taken(impatient: pytest.MonkeyPatch, begin: Begin) -> None:
    impatient.setattr(http_uploads, "AT_ONCE", 2)
    with served_api(HeldBackend()) as there:
        slow, fast = (begin(there, UPLOAD, FILE[:much], len(FILE)) for much in (200, 90_000))
        until(lambda: coming(there) == 2)
        third = begin(there, UPLOAD, FILE[:200], len(FILE))
        said = answer(slow)
        assert said.status == 408 and said.body.endswith(b"faster connection.")
        for connection, rest in ((fast, FILE[90_000:]), (third, FILE[200:])):
            connection.sendall(rest)
            assert answer(connection).status == 200
        assert coming(there) == 0


def sent_by(address: str, *, known: bool = False) -> Body:
    return Body(Who(address, "", known), lambda: None)


def test_whoever_has_more_than_a_share_makes_way_however_fast() -> None:
    bodies = Coming(at_once=8)
    first, *others = (sent_by("one") for _ in range(8))
    for one in (first, *others):
        bodies.join(one)
    with pytest.raises(Refused):
        bodies.join(sent_by("one"))
    bodies.join(sent_by("two"))
    assert not bodies.has(first) and all(map(bodies.has, others))


def test_of_one_visitor_that_is_known_only_so_many_come_at_a_time() -> None:
    bodies = Coming(of_one=1)
    bodies.join(sent_by("one", known=True))
    with pytest.raises(Refused):
        bodies.join(sent_by("one", known=True))
    bodies.join(sent_by("two", known=True))
