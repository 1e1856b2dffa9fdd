"""The knobs that people can turn and the switches, a row each, and their values as GenerationSettings.

Knows what each is called, how far it goes and what it does in one line. Refuses to know how any of it is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ovis_app.zoo import ModelSpec

SIDE_STEP = 16


@dataclass(frozen=True)
class Knob:
    """A slider: `name` is the field of GenerationSettings that it sets. Without `offered` every model has it."""

    name: str
    section: str
    label: str
    about: str
    low: float
    high: float
    step: float
    side: bool = False  # shown as the side of a square, set as its area
    offered: Callable[[ModelSpec], bool] = lambda spec: True


def knobs(spec: ModelSpec) -> tuple[Knob, ...]:
    """The knobs that this model can use."""
    return tuple(row for row in _all_knobs(spec) if row.offered(spec))


def _all_knobs(spec: ModelSpec) -> tuple[Knob, ...]:
    """Every knob that there is, as far as it goes with this model."""
    tokens = float(min(spec.context, 16384))
    least, most = (round(math.sqrt(size)) for size in spec.single.made_for or (64 * 64, 4096 * 4096))
    area = " Given as the side of a square of as many pixels."
    return (
        Knob("max_new_tokens", "Answer", "Longest answer (max new tokens)", "Thought included.", 16, tokens, 16),
        Knob("temperature", "Answer", "Temperature", "0 always takes the likeliest word; higher is freer.", 0, 2, 0.05),
        Knob("top_p", "Answer", "Top-p", "Draws from the likeliest words that make up this share.", 0.05, 1, 0.05),
        Knob(
            "thinking_budget",
            "Thinking",
            "Budget",
            "Tokens after which the thought is cut short and the answer begins.",
            16,
            tokens,
            16,
            offered=lambda s: s.thinking,
        ),
        Knob(
            "min_pixels",
            "Pictures",
            "Smallest picture (min pixels)",
            "Smaller pictures are enlarged to this; raise it for tiny print." + area,
            least,
            min(most, 2048),
            SIDE_STEP,
            side=True,
            offered=_sizes,
        ),
        Knob(
            "max_pixels",
            "Pictures",
            "Largest picture (max pixels)",
            "Larger pictures are reduced to this; lower it to save time and memory." + area,
            least,
            most,
            SIDE_STEP,
            side=True,
            offered=_sizes,
        ),
        Knob(
            "max_partition",
            "Pictures",
            "Tiles of a picture (max partition)",
            "Into how many tiles a picture is cut at most; more show finer detail and take longer.",
            1,
            16,
            1,
            offered=lambda s: s.tiles,
        ),
        Knob(
            "frames",
            "Pictures",
            "Frames of a clip",
            "How many moments of a clip the model sees, evenly spread.",
            1,
            64,
            1,
            offered=lambda s: s.video,
        ),
    )


def _sizes(spec: ModelSpec) -> bool:
    """Whether a picture's size can be chosen: not with tiles, and not where the model was made for one size."""
    made_for = spec.single.made_for
    return not spec.tiles and (made_for is None or made_for[0] < made_for[1])


@dataclass(frozen=True)
class Switch:
    """A toggle: `name` is the field of GenerationSettings that it turns on."""

    name: str
    label: str
    about: str
    offered: Callable[[ModelSpec], bool] = lambda spec: True


SWITCHES = (
    Switch("thinking", "Think", "Think before answering.", lambda spec: spec.thinking),
    Switch("cot", "Step by step", "Ask for a step-by-step answer.", lambda spec: bool(spec.cot_suffix)),
    Switch("boxes", "Boxes", "Ask where things are: boxes are drawn.", lambda spec: bool(spec.boxes_suffix)),
)
SPLIT = Switch(
    "split",
    "Split very long pictures",
    "Screenshots and receipts are looked at in pieces, for their fine print.",
    lambda spec: spec.several_images,
)
DROP = Switch(
    "drop_old_turns",
    "Forget the oldest turns when the conversation gets too long",
    "Otherwise you are told how much is too much, and nothing is left out.",
)


def recommended(spec: ModelSpec, knob: Knob) -> float:
    """Where this knob stands when nobody has touched it."""
    value = getattr(spec.recommended, knob.name)
    if value is None:
        return knob.low
    return round(math.sqrt(value) / SIDE_STEP) * SIDE_STEP if knob.side else value
