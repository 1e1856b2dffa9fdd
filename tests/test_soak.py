"""`make soak` tells its figures as a table and as JSON, fails where one misses its target, and says what it skips."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from benchmarks.soak import __main__ as soak
from benchmarks.soak import disk
from benchmarks.soak.figure import Figure
from benchmarks.soak.people import Program, Tab, picture
from tests.ui.serving import HeldBackend, served


def told(monkeypatch: pytest.MonkeyPatch, file: Path, met: bool | None) -> int:
    figure = Figure("F7", "out of memory", "ten clear messages", "nine of ten", met)
    monkeypatch.setattr(soak, "measures", lambda _: {"F7": lambda _: figure})
    monkeypatch.setattr(sys, "argv", ["soak", "--only", "f7", "--json", str(file)])
    return soak.main()


@pytest.mark.parametrize(("met", "code", "word"), [(True, 0, "yes"), (False, 1, "**no**"), (None, 0, "skipped")])
def test_a_figure_that_misses_its_target_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], met: bool, code: int, word: str
) -> None:
    assert told(monkeypatch, tmp_path / "soak.json", met) == code
    assert f"| F7 | out of memory | ten clear messages | nine of ten | {word} |" in capsys.readouterr().out
    [kept] = json.loads((tmp_path / "soak.json").read_text("utf-8"))["figures"]
    assert kept["met"] is met and kept["found"] == "nine of ten"


def test_where_no_disk_can_be_mounted_that_figure_is_skipped_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(disk, "within", lambda _: ["sh", "-c", "echo not permitted >&2; exit 1"])
    figure = disk.full_disk(tmp_path)
    assert figure.met is None and "not permitted" in figure.found


def test_people_of_the_page_and_programs_ask_hear_and_leave(tmp_path: Path) -> None:
    with served(HeldBackend()) as server:
        for one in (Tab(server.url), Program(server.url)):
            with one.open():
                heard = one.turn("What is it?", [picture(tmp_path, 1)], tokens=20)
                assert heard.text.startswith("You said: What is it?") and heard.first is not None and heard.ended
                one.turn("And now?", tokens=20)
                assert len(server.backend.requests[-1].conversation.messages) == 3
                assert "memory" in one.turn("fail", tokens=20).failed
                left = one.turn("long", tokens=20, leave=1)
                assert left.left and not left.failed and "word50" not in left.text


GRADIO = 'event: generating\ndata: [{"kind": "answer", "text": "It is"}]\n\n'
GRADIO_DONE = 'event: generating\ndata: [{"kind": "done", "text": "It is a circle."}]\n\nevent: complete\n\n'
CHUNK = 'data: {{"choices": [{{"delta": {{"content": "It is"}}, "finish_reason": {}}}]}}\n\n'


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets what every stream of a server that isn't there says."""

    def say(stream: str) -> None:
        def answered(request: httpx.Request) -> httpx.Response:
            if request.method == "GET" and "/call/" not in request.url.path:
                return httpx.Response(200, json={})
            if request.url.path.endswith("/call/ask"):
                return httpx.Response(200, json={"event_id": "one"})
            return httpx.Response(200, text=stream)

        transport = httpx.MockTransport(answered)
        monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _, request: transport.handle_request(request))

    return say


@pytest.mark.parametrize(
    ("kind", "stream"),
    [
        (Tab, GRADIO + "event: error\ndata: null\n\n"),
        (Tab, GRADIO),
        (Tab, ""),
        (Program, CHUNK.format("null")),
        (Program, ""),
    ],
)
def test_an_answer_that_breaks_off_has_failed(
    scripted: Callable[[str], None], kind: type[Tab] | type[Program], stream: str
) -> None:
    scripted(stream)
    with kind("http://nobody/").open() as one:
        heard = one.turn("What is it?", tokens=20)
        assert heard.failed and not heard.ended and not heard.left
        assert not (one.said if isinstance(one, Program) else one.wire.said)


@pytest.mark.parametrize(("kind", "stream"), [(Tab, GRADIO + GRADIO_DONE), (Program, CHUNK.format('"length"'))])
def test_an_answer_that_ends_has_not_failed_and_nobody_left_it(
    scripted: Callable[[str], None], kind: type[Tab] | type[Program], stream: str
) -> None:
    scripted(stream)
    with kind("http://nobody/").open() as one:
        heard = one.turn("What is it?", tokens=20, leave=3)
        assert heard.ended and not heard.failed and not heard.left


@pytest.mark.parametrize(("kind", "stream"), [(Tab, GRADIO * 3), (Program, CHUNK.format("null") * 3)])
def test_who_leaves_is_counted_as_gone_only_where_it_happened(
    scripted: Callable[[str], None], kind: type[Tab] | type[Program], stream: str
) -> None:
    scripted(stream)
    with kind("http://nobody/").open() as one:
        left = one.turn("What is it?", tokens=20, leave=1)
        assert left.left and not left.failed and not left.ended
        assert one.turn("What is it?", tokens=20, leave=9).failed
