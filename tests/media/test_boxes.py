"""Boxes in an answer's words, as programs get them. The page reads the same cases with its own module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ovis_app.media.boxes import found

CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "boxes.json").read_text("utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:30])
def test_an_answer_names_its_boxes_in_whatever_form(case: dict[str, Any]) -> None:
    boxes = [(box.name, box.left, box.top, box.right, box.bottom) for box in found(case["text"])]
    wanted = [(name, *map(pytest.approx, sides)) for name, kind, *sides in case["marks"] if kind == "box"]
    assert boxes == wanted
