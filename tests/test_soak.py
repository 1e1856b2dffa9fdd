"""The soak tells its figures as a table and as JSON, fails where one misses its target, and says what it skips; each
judgement, on what is good and on what is bad in one way; and that its people hear what is said, and what isn't."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.soak import __main__ as soak
from benchmarks.soak import disk, hours, memory, server
from benchmarks.soak.figure import Figure
from benchmarks.soak.people import Heard, Program, Tab, picture
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


def test_a_figure_that_is_not_measured_to_its_end_is_missed_and_the_others_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where logs of what is missed are kept
    file, good = tmp_path / "soak.json", Figure("F7", "out of memory", "ten", "ten", True)
    kept: list[int] = []

    def breaks(folder: Path) -> Figure:
        kept.append(len(json.loads(file.read_text("utf-8"))["figures"]))
        (folder / server.LOG).write_text("what the server wrote", "utf-8")
        raise RuntimeError("the model gave no answer")

    monkeypatch.setattr(soak, "measures", lambda _: {"F7": lambda _: good, "F15": breaks, "F16": lambda _: good})
    monkeypatch.setattr(sys, "argv", ["soak", "--only", "F7,F15,F16", "--json", str(file)])
    assert soak.main() == 1 and kept == [1]
    first, missed, last = json.loads(file.read_text("utf-8"))["figures"]
    assert first["met"] is last["met"] is True and missed["met"] is False
    assert "RuntimeError: the model gave no answer" in missed["found"] and missed["log"] in capsys.readouterr().out
    assert Path(missed["log"]).read_text("utf-8") == "what the server wrote"
    assert {one.name for one in tmp_path.iterdir()} == {"soak.json", Path(missed["log"]).name}


@pytest.mark.parametrize("flags", [["--conversations", "0"], ["--conversations", "9"], ["--minutes", "0"]])
def test_what_would_measure_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["soak", *flags])
    with pytest.raises(SystemExit) as ended:
        soak.main()
    assert ended.value.code == 2 and flags[0] in capsys.readouterr().err


def test_a_model_that_never_answers_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextmanager
    def process(*_: str, log: Path, **__: Any) -> Iterator[tuple[str, int]]:
        yield "http://nobody", os.getpid()

    monkeypatch.setattr(server.server, "process", process)
    monkeypatch.setattr(server, "checkpoint", lambda _, folder: folder)
    monkeypatch.setattr(server, "loaded", lambda _: False)
    monkeypatch.setattr(server, "LOADED", 0.0)
    with pytest.raises(RuntimeError, match="no answer"), server.running(tmp_path):
        pass


SHORT = "The GPU's memory is full: ask with less."
FULL = "There is no room for files on this server: try again later."
WHOLE, LEFT, BROKEN = Heard("a", 1.0, ended=True), Heard("a", 1.0, left=True), Heard("a", 1.0, failed="It broke off.")


@pytest.mark.parametrize(
    ("failed", "grown", "others", "met"),
    [
        ([SHORT] * 20, 3.0, ["", ""], True),
        ([SHORT] * 20, 41.0, ["", ""], False),
        ([SHORT] * 19, 3.0, ["", ""], False),
        ([SHORT] * 19 + [""], 3.0, ["", ""], False),
        ([SHORT] * 19 + ["Tried to allocate much memory."], 3.0, ["", ""], False),
        ([SHORT] * 20, 3.0, ["", "It broke off."], False),
        ([SHORT] * 20, 3.0, [], False),
    ],
)
def test_out_of_memory_is_met_only_with_twenty_clear_sentences_no_growth_and_an_answer(
    failed: Sequence[str], grown: float, others: Sequence[str], met: bool
) -> None:
    assert memory.survived(failed, grown, others).met is met


HELD = server.Held(threads=14, descriptors=27, children=1)
QUIET = memory.Left(HELD, HELD, files=0.0, blocks=0.0)
TALK = memory.Talk(1, (WHOLE,) * 10, [])
GONE = memory.Talk(3, (*[WHOLE] * 9, LEFT), [])


@pytest.mark.parametrize(
    ("number", "talked", "then", "right", "left", "met"),
    [
        (10, [TALK] * 11 + [GONE], 340.0, [True] * 2, QUIET, True),
        (10, [TALK] * 12, 351.0, [True] * 2, QUIET, False),
        (10, [TALK] * 11, 340.0, [True] * 2, QUIET, False),
        (10, [TALK] * 11 + [replace(TALK, heard=(WHOLE,) * 9)], 340.0, [True] * 2, QUIET, False),
        (10, [TALK] * 11 + [replace(TALK, heard=(*[WHOLE] * 9, BROKEN))], 340.0, [True] * 2, QUIET, False),
        (10, [TALK] * 11 + [replace(TALK, heard=(LEFT, *[WHOLE] * 9))], 340.0, [True] * 2, QUIET, False),
        (10, [TALK] * 12, 340.0, [True, False], QUIET, False),
        (10, [TALK] * 12, 340.0, [], QUIET, False),
        (10, [TALK] * 12, 340.0, [True] * 2, replace(QUIET, after=replace(HELD, threads=15)), False),
        (10, [TALK] * 12, 340.0, [True] * 2, replace(QUIET, files=1.5), False),
        (10, [TALK] * 12, 340.0, [True] * 2, replace(QUIET, blocks=1.0), False),
        (10, [], 340.0, [True] * 2, QUIET, False),
        (4, [TALK] * 4, 340.0, [True] * 2, QUIET, False),
    ],
)
def test_conversations_are_met_only_where_all_took_place_came_out_right_and_left_nothing(
    number: int, talked: Sequence[memory.Talk], then: float, right: Sequence[bool], left: memory.Left, met: bool
) -> None:
    figure = memory.grew(number, talked, memory.Sizes(200.0, 300.0, (320.0, then)), right, left)
    assert figure.met is met and f"by fifths +20, +{then - 320:.0f}" in figure.found
    assert "the warm-up itself +100 MB" in figure.found


@pytest.mark.parametrize(
    ("refused", "cut", "most", "kept", "met"),
    [
        ([""] * 240, 50, 15.0, 0.5, True),
        ([""] * 239 + ["It is no picture."], 50, 15.0, 0.5, False),
        ([""] * 200, 50, 15.0, 0.5, False),
        ([""] * 240, 49, 15.0, 0.5, False),
        ([""] * 240, 50, 15.0, 1.5, False),
        ([""] * 240, 50, 0.5, 0.5, False),
    ],
)
def test_uploads_are_met_only_where_all_were_taken_or_cut_off_and_nothing_stays(
    refused: Sequence[str], cut: int, most: float, kept: float, met: bool
) -> None:
    assert disk.stayed(refused, cut, most, kept).met is met


@pytest.mark.parametrize(
    ("refused", "text", "again", "met"),
    [
        ([FULL] * 9, ["", ""], ["", ""], True),
        ([FULL] * 8 + ["Internal Server Error"], ["", ""], ["", ""], False),
        ([FULL] * 8 + [""], ["", ""], ["", ""], False),
        ([FULL], ["", ""], ["", ""], False),
        ([FULL] * 9, ["", "It broke off."], ["", ""], False),
        ([FULL] * 9, ["", ""], [FULL, ""], False),
        ([FULL] * 9, [], [], False),
    ],
)
def test_a_full_disk_is_met_only_with_sentences_answers_and_files_again(
    refused: Sequence[str], text: Sequence[str], again: Sequence[str], met: bool
) -> None:
    assert disk.recovered(refused, text, again).met is met


HOUR = [(float(second), LEFT if second % 10 < 3 else WHOLE) for second in range(60)]
SLOW = [(second, replace(one, first=1.5 if second > 40 else 1.0)) for second, one in HOUR]


@pytest.mark.parametrize(
    ("after", "answers", "met"),
    [
        (HELD, HOUR, True),
        (replace(HELD, threads=13), HOUR, True),
        (replace(HELD, threads=15), HOUR, False),
        (replace(HELD, descriptors=28), HOUR, False),
        (replace(HELD, children=2), HOUR, False),
        (HELD, SLOW, False),
        (HELD, [*HOUR, (59.5, BROKEN)], False),
        (HELD, [(second, WHOLE) for second, _ in HOUR], False),
        (HELD, [(second, LEFT) for second, _ in HOUR], False),
        (HELD, [(second, replace(one, first=None) if second % 20 == 9 else one) for second, one in HOUR], False),
        (HELD, HOUR[:40], False),
        (HELD, [], False),
    ],
)
def test_hours_are_met_only_where_all_came_back_and_three_of_ten_really_left(
    after: server.Held, answers: hours.Answers, met: bool
) -> None:
    assert hours.held_up(1.0, HELD, after, answers).met is met


def test_where_no_disk_can_be_mounted_that_figure_is_skipped_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(disk, "within", lambda _: ["sh", "-c", "echo not permitted >&2; exit 1"])
    figure = disk.full_disk(tmp_path)
    assert figure.met is None and "not permitted" in figure.found


def test_people_of_the_page_and_programs_ask_hear_leave_and_come_back(tmp_path: Path) -> None:
    with served(HeldBackend()) as server:
        for one, other in ((Tab(server.url), Tab(server.url)), (Program(server.url), Program(server.url))):
            with one.open():
                heard = one.turn("What is it?", [picture(tmp_path, 1)], tokens=20)
                assert heard.text.startswith("You said: What is it?") and heard.first is not None and heard.ended
                one.turn("And now?", tokens=20)
                assert len(server.backend.requests[-1].conversation.messages) == 3
                assert "memory" in one.turn("fail", tokens=20).failed
                left = one.turn("long", tokens=20, leave=1)
                assert left.left and not left.failed and "word50" not in left.text
            with other.open():
                other.come_back(one.remembered(), [picture(tmp_path, 1)])
                assert other.turn("And now?", tokens=20, seed=7).ended
                asked = server.backend.requests[-1]
                assert [len(said.media) for said in asked.conversation.messages] == [1, 0, 0, 0, 0]
                assert asked.settings.seed == 7


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
