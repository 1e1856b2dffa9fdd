from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ovis_app.generation import GenerationSettings
from ovis_app.ui.controls import SWITCHES, knobs, recommended
from ovis_app.zoo import MINI, MODELS, find

PLAIN = replace(MINI, thinking=False, video=False, cot_suffix="")


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_recommended_values_lie_on_their_sliders(spec) -> None:
    for knob in knobs(spec):
        assert knob.low <= recommended(spec, knob) <= knob.high
        steps = (recommended(spec, knob) - knob.low) / knob.step
        assert math.isclose(steps, round(steps), abs_tol=1e-6), knob.name


def test_controls_follow_the_model() -> None:
    names = {knob.name for knob in knobs(PLAIN)}
    assert "thinking_budget" not in names and "frames" not in names
    offered = {one.name for one in SWITCHES if one.offered(PLAIN)}
    assert not offered & {"thinking", "cot"}


def test_models_that_cut_tiles_have_tiles_and_no_pixels() -> None:
    for spec in MODELS:
        names = {knob.name for knob in knobs(spec)}
        assert ("max_partition" in names) == spec.tiles
        assert ("max_pixels" in names) == (not spec.tiles and spec is not MINI)


def test_pixels_can_be_chosen_only_as_far_as_the_model_was_made_for_them() -> None:
    spec = find("Ovis2.5-2B")
    ranges = {knob.name: (knob.low, knob.high) for knob in knobs(spec)}
    assert ranges["min_pixels"] == ranges["max_pixels"] == (448, 1792)
    assert not {"min_pixels", "max_pixels"} & {knob.name for knob in knobs(MINI)}, "it was made for one size"


def test_who_asks_for_points_is_not_asked_for_boxes_too() -> None:
    spec = find("Ovis2.5-2B")
    assert spec is not None
    points = "Where is the <ref>cup</ref>? Please provide the point coordinates."
    boxes = GenerationSettings(boxes=True)
    assert spec.worded(points, boxes) == points and spec.worded("Where is it?", boxes).endswith("box coordinates.")
    for label in ("Find…", "Point at…"):  # in the words that the switch adds, so that it adds nothing
        text = next(task.image for task in spec.tasks if task.label == label)
        assert spec.worded(text, boxes) == text
