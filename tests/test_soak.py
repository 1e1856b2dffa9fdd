"""`make soak` tells its figures as a table and as JSON, fails where one misses its target, and says what it skips."""

from __future__ import annotations

import json
import sys
from pathlib import Path

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
                assert heard.text.startswith("You said: What is it?") and heard.first is not None and not heard.failed
                one.turn("And now?", tokens=20)
                assert len(server.backend.requests[-1].conversation.messages) == 3
                assert "memory" in one.turn("fail", tokens=20).failed
                left = one.turn("long", tokens=20, leave=1)
                assert not left.failed and "word50" not in left.text
