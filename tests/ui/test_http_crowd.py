"""How much may be under way at a time, and open: of one session, of one visitor, of all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from urllib.parse import urlsplit

import pytest

from ovis_app.ui import http_crowd
from ovis_app.ui.http_bodies import Refused
from ovis_app.ui.http_crowd import Crowd
from tests.ui.raw_http import answer, connect, sentence
from tests.ui.serving import HeldBackend, Served, Wire, served
from tests.waiting import until

TAB = "/gradio_api/heartbeat/"


def test_one_session_one_visitor_and_all_have_only_so_many_at_a_time() -> None:
    crowd = Crowd(of_session=2, of_visitor=3, of_all=5)
    with ExitStack() as places:
        for _ in range(2):
            places.enter_context(crowd.one_more("a", "192.0.2.7"))
        with pytest.raises(Refused) as refused, crowd.one_more("a"):
            pass
        assert refused.value.status == 429 and int(refused.value.headers["retry-after"]) > 0
        with crowd.one_more("b", "192.0.2.7"):
            with pytest.raises(Refused), crowd.one_more("c", "192.0.2.7"):
                pass
            with crowd.one_more("c", "192.0.2.8"), crowd.one_more("", ""), pytest.raises(Refused), crowd.one_more("d"):
                pass
    with crowd.one_more("a"):
        pass


@contextmanager
def listening(server: Served, route: str, *headers: str) -> Iterator[int]:
    """A request that is kept open while the block runs: the status of its answer."""
    with closing(connect(server)) as connection:
        lines = [f"GET {route} HTTP/1.1", f"Host: {urlsplit(server.url).netloc}", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode())
        status = int(connection.recv(12).split()[1])
        if status == 200:
            yield status
            return
    with closing(connect(server)) as connection:
        connection.sendall("\r\n".join(lines).encode())
        said = answer(connection)
        assert "close other tabs" in sentence(said) and int(said.headers["retry-after"]) > 0
    yield status


def test_no_number_of_tabs_takes_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_crowd, "tabs", lambda: Crowd(2, 4, 6, http_crowd.OPEN))
    one, other = "X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 198.51.100.9"
    with served(HeldBackend(), trusted_proxies=("127.0.0.1",)) as server, ExitStack() as tabs:
        for expected in (200, 200, 429):
            assert tabs.enter_context(listening(server, f"{TAB}mine", one)) == expected
        for number, expected in enumerate((200, 200, 429)):
            assert tabs.enter_context(listening(server, f"{TAB}made-up-{number}", one)) == expected
        assert tabs.enter_context(listening(server, f"{TAB}theirs", other)) == 200
        with closing(Wire(server)) as wire:  # whoever has no such request is answered all the same
            assert "You said: and I?" in str(wire.ask("and I?"))
        tabs.close()

        def free() -> bool:
            with listening(server, f"{TAB}made-up-9", one) as status:
                return status == 200

        until(free)
