"""How a picture is seen, asked over HTTP: numbered frames, and a sentence for whatever else comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ovis_app.backend import Backend
from ovis_app.backends.fake import FakeBackend
from ovis_app.generation import Request, Waiting
from ovis_app.sight import Cells, Sight, VisualWords
from ovis_app.ui.seeing import described, looking
from tests.ui.serving import EXAMPLES, Wire

SHAPES = EXAMPLES / "shapes.png"


def looks(wire: Wire, asked: Any) -> list[dict[str, Any]]:
    return list(wire.frames(str(wire.join(asked, of="sees").json()["event_id"]), of="sees"))


def test_a_picture_of_a_question_is_told_about(wire: Wire) -> None:
    asked = wire.asked("", [wire.upload(EXAMPLES / "counting.png"), wire.upload(SHAPES)])
    frames = looks(wire, asked | {"file": 1})
    assert [one["seq"] for one in frames] == list(range(len(frames)))
    assert [one["kind"] for one in frames] == ["begun", "waiting", "sight"]
    assert frames[-1] == {
        "seq": 2, "kind": "sight", "size": [256, 256], "inner": [256, 256], "seen": [256, 256], "pieces": 1,
        "vocabulary": 0, "cells": [{"sides": [0, 0, 1, 1], "rows": 8, "columns": 8, "tile": False}],
    }  # fmt: skip
    assert wire.served.backend.live == 0


@pytest.mark.parametrize("file", [None, "0", True, 0.0, [0], {"a": 1}, 2, -1, 10**40])
def test_what_is_no_place_is_refused(wire: Wire, file: Any) -> None:
    last = looks(wire, wire.asked("", [wire.upload(SHAPES)]) | {"file": file})[-1]
    assert last["kind"] == "failed" and "reload the page" in last["sentence"]


def test_a_file_that_is_somebody_elses_is_missing(wire: Wire) -> None:
    other = Wire(wire.served)
    other.ask("mine", [theirs := other.upload(SHAPES)])
    last = looks(wire, wire.asked("", [theirs]) | {"file": 0})[-1]
    assert last == {"seq": 1, "kind": "missing", "files": [0]}
    other.close()


@pytest.mark.parametrize("asked", [{}, [], "x", {"session": "a"}, {"session": "abcdefgh", "request": 3, "file": 0}])
def test_what_is_no_question_is_refused(wire: Wire, asked: Any) -> None:
    said = wire.join(asked, of="sees")
    if said.status_code == 200:
        last = list(wire.frames(str(said.json()["event_id"]), of="sees"))[-1]
        assert last["kind"] == "failed" and last["sentence"].endswith(".")
    else:
        assert said.status_code == 400 and said.json()["error"].endswith(".")


def test_numbers_are_rounded_and_stand_row_by_row() -> None:
    words = VisualWords((3, 9), (0.123456, 1.0), (4.56789, 0.0))
    found = described(Sight((4, 2), (4, 2), (64, 32), (Cells(0, -1 / 3, 1, 1, 1, 2, True, words),), vocabulary=10))
    (cells,) = found["cells"]
    assert cells == {
        "sides": [0, -0.33333, 1, 1], "rows": 1, "columns": 2, "tile": True, "words": (3, 9), "shares": [0.123, 1.0],
        "bits": [4.57, 0.0],
    }  # fmt: skip


class Blind:
    """Knows nothing of pictures."""


class Broken(FakeBackend):
    def sees(self, request: Request, place: int) -> Iterator[Waiting | Sight]:
        yield Waiting("Looking")
        raise RuntimeError("scripted")


@pytest.mark.parametrize(("backend", "sentence"), [(Blind(), "can't be told here"), (Broken(), "in the server's log")])
def test_whoever_cannot_look_says_so(backend: Backend, sentence: str) -> None:
    *_, (last,) = looking(backend, Request(None), 0)  # type: ignore[arg-type]
    assert last["kind"] == "failed" and sentence in last["sentence"] and "scripted" not in last["sentence"]
