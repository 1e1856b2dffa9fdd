"""Others are served while files wait to be looked at."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from ovis_app.media import decoder_process
from ovis_app.media.readers import Readers
from ovis_app.ui import aside
from tests.ui.raw_http import ask, brings, file, post
from tests.ui.serving import EXAMPLES, HeldBackend, Served, Wire, served
from tests.waiting import PATIENCE, until

SENDERS = 45  # more than Gradio has threads


def test_others_are_served_while_many_pictures_wait_to_be_looked_at(
    server: Served, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def waiting(files: Any, *_: Any) -> Iterator[Any]:
        assert gate.wait(PATIENCE)
        yield from (({}, b"") for _ in files)

    monkeypatch.setattr(decoder_process, "image_records", waiting)
    monkeypatch.setattr(aside, "readers", Readers(6, each=2, patience=PATIENCE))
    session, answered = wire.session, list[bytes]()
    bodies = [brings(wire, wire.upload(EXAMPLES / "shapes.png")).decode() for _ in range(SENDERS)]

    def send(number: int) -> None:
        one = bodies[number].replace(session, f"{session}{number}").encode()
        answered.append(post(server, "/gradio_api/run/bring", one).body)

    senders = [threading.Thread(target=send, args=(n,)) for n in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        for turn in range(5):
            wire.session = f"{session}-{turn}"
            assert "text alone" in wire.ask("text alone")["text"]
            assert wire.offers()["offers"]
            assert ask(server, "/").status == 200
        assert answered == []
    finally:
        gate.set()
        for sender in senders:
            sender.join()
    assert len(answered) == SENDERS and all(b"image" in one for one in answered)


def test_sessions_that_one_visitor_makes_up_have_the_places_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, asked = threading.Event(), list[str]()

    def waiting(files: Any, *_: Any) -> Iterator[Any]:
        assert gate.wait(PATIENCE)
        yield from (({}, b"") for _ in files)

    class Watched(Readers):
        async def run(self, work: Any, *, client: str) -> Any:
            asked.append(client)
            return await super().run(work, client=client)

    monkeypatch.setattr(decoder_process, "image_records", waiting)
    monkeypatch.setattr(aside, "readers", Watched(2, each=1, patience=PATIENCE))
    with served(HeldBackend(), trusted_proxies=("127.0.0.1",)) as there, closing(Wire(there)) as wire:
        greedy, answered = "X-Forwarded-For: 192.0.2.7", list[bytes]()
        bodies = [brings(wire, wire.upload(EXAMPLES / "shapes.png")).decode() for _ in range(5)]
        wire.http.headers["x-forwarded-for"] = "192.0.2.8"
        path = wire.upload(EXAMPLES / "left.png")

        def send(number: int) -> None:
            body = bodies[number].replace(wire.session, f"{wire.session}{number}").encode()
            answered.append(post(there, "/gradio_api/run/bring", body, greedy).body)

        senders = [threading.Thread(target=send, args=(number,)) for number in range(5)]
        for sender in senders:
            sender.start()
        try:
            until(lambda: len(asked) == 5)
            assert file(there, path, "X-Forwarded-For: 192.0.2.8").status == 200
            assert answered == []
        finally:
            gate.set()
            for sender in senders:
                sender.join()
