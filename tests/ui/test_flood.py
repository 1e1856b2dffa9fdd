"""Many at once who leave in the middle of everything: nothing of it stays, and whoever else is here is answered."""

from __future__ import annotations

import json
import sys
import threading
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.ui.raw_http import a_file, connect, form, opened, stored
from tests.ui.serving import HeldBackend, Served, Wire, served
from tests.waiting import until

MANY = 12  # of each kind


def half_an_upload(server: Served) -> None:
    kind, body = form(a_file("half.png"))
    with closing(opened(server, "/gradio_api/upload", kind, "Content-Length: 90000")) as connection:
        connection.sendall(body[:-10])


def half_an_event(server: Served) -> None:
    with closing(opened(server, "/gradio_api/run/predict", "Content-Length: 900")) as connection:
        connection.sendall(b'{"data": [')


def half_a_head(server: Served) -> None:
    with closing(connect(server)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: " + urlsplit(server.url).netloc.encode())


def an_answer_that_nobody_reads(server: Served) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "held"}], "stream": True}).encode()
    with closing(opened(server, "/v1/chat/completions", f"Content-Length: {len(body)}")) as connection:
        connection.sendall(body)
        connection.recv(64)


def a_tab_that_is_closed(server: Served) -> None:
    with closing(Wire(server)) as wire:
        wire.send("held")
        wire.start_answer()
        next(wire.messages())


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="counts what Linux lists in /proc")
def test_whoever_leaves_in_the_middle_leaves_nothing_behind() -> None:
    with served(HeldBackend()) as server:
        with closing(Wire(server)) as wire:
            wire.ask("hello")
        files, open_before = stored(server), descriptors()
        kinds = (half_an_upload, half_an_event, half_a_head, an_answer_that_nobody_reads, a_tab_that_is_closed)
        crowd = [threading.Thread(target=kind, args=(server,)) for kind in kinds for _ in range(MANY)]
        for one in crowd:
            one.start()
        with closing(Wire(server)) as wire:
            assert "You said: and I?" in str(wire.ask("and I?"))
        for one in crowd:
            one.join()
        until(lambda: server.backend.live == 0)
        until(lambda: stored(server) == files)
        until(lambda: descriptors() <= open_before)
