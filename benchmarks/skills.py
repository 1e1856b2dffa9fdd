"""Skills that Ovis-mini doesn't have, each as samples to learn it from and as questions that nothing was learnt from.

`shapes`: four shapes that it has no words for, asked by what they are, by color, and by yes or no. `list`: what it
knows of a drawing, in a form that it never wrote. Knows pictures and samples; refuses to know models.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from ovis_app.training.mini.world.scenes import CELLS, COLORS, draw, random_background, random_scene, visible

NEW = ("hexagon", "heart", "cross", "ring")
FINE = 4  # times finer that a new shape is drawn than shown

Asked = tuple[Image.Image, str, str]  # a picture, a question, its answer
Point = tuple[float, float]


def shapes(rng: random.Random) -> Asked:
    """One new shape somewhere in the picture."""
    kind, side, background = rng.choice(NEW), rng.randint(144, 240), random_background(rng)
    color = rng.choice([name for name, ink in COLORS.items() if visible(ink, background)])
    picture = Image.new("RGB", (side * FINE, side * FINE), background)
    r = rng.uniform(0.13, 0.26) * side
    x, y = (rng.uniform(r + 4, side - r - 4) for _ in range(2))
    _put(ImageDraw.Draw(picture), kind, x * FINE, y * FINE, r * FINE, COLORS[color])
    question, answer = rng.choice(
        [
            ("What shape is it?", f"It is a {kind}."),
            (f"What color is the {kind}?", f"The {kind} is {color}."),
            _yes_or_no(kind, rng),
        ]
    )
    return picture.reduce(FINE), question, answer


def _yes_or_no(kind: str, rng: random.Random) -> tuple[str, str]:
    asked = kind if rng.random() < 0.5 else rng.choice(NEW)
    return f"Is this a {asked}?", f"Yes, it is a {kind}." if asked == kind else f"No, it is a {kind}."


def _put(pen: ImageDraw.ImageDraw, kind: str, x: float, y: float, r: float, ink: tuple[int, int, int]) -> None:
    if kind == "hexagon":
        pen.regular_polygon((x, y, r), 6, fill=ink)
    elif kind == "heart":
        pen.polygon([(x + a * r, y + b * r) for a, b in _heart()], fill=ink)
    elif kind == "cross":
        arm = 0.32 * r
        pen.rectangle((x - r, y - arm, x + r, y + arm), fill=ink)
        pen.rectangle((x - arm, y - r, x + arm, y + r), fill=ink)
    else:
        pen.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=round(r / 3))


def _heart() -> list[Point]:
    """The usual curve of sines, in a square of side 2."""
    turns = [math.tau * n / 90 for n in range(90)]
    tall = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in turns]
    return [(math.sin(t) ** 3, -(y + 2.5) / 14.5) for t, y in zip(turns, tall, strict=True)]


def listed(rng: random.Random) -> Asked:
    """A drawing of those that it knows, as JSON."""
    scene = random_scene(rng)
    facts = [{"shape": shape.kind, "color": shape.color, "at": CELLS[shape.cell]} for shape in scene.shapes]
    return draw(scene), rng.choice(("List the shapes as JSON.", "All shapes as JSON, please.")), json.dumps(facts)


SKILLS: dict[str, Callable[[random.Random], Asked]] = {"shapes": shapes, "list": listed}


def written(skill: str, number: int, folder: Path, *, seed: str) -> Path:
    """So many samples in a file, their pictures beside it; of other seeds all are other ones."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"{skill} {seed}")
    samples: list[dict[str, Any]] = []
    for place in range(number):
        picture, question, answer = SKILLS[skill](rng)
        picture.save(folder / f"{place}.png")
        said: Sequence[tuple[str, str]] = (("human", f"<image>\n{question}"), ("gpt", answer))
        turns = [{"from": who, "value": words} for who, words in said]
        samples.append({"id": f"{skill}-{place}", "image": f"{place}.png", "conversations": turns})
    file = folder / "data.json"
    file.write_text(json.dumps(samples), encoding="utf-8")
    return file
