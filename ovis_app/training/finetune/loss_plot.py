"""The losses of a run as a picture: each step's, their running mean, and that of the samples to judge by.

Knows numbers and Pillow; refuses to know where they come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ovis_app.training.finetune.run_folder import Record

WIDTH, HEIGHT = 960, 540
LEFT, TOP, RIGHT, BOTTOM = 70, 40, WIDTH - 30, HEIGHT - 50
PAPER, INK, GRID = "white", "#333333", "#dddddd"
STEPS, MEAN, JUDGED = "#b9cdec", "#2456a6", "#d9541e"
MEMORY = 0.9  # of the running mean
LINES = 5  # of the grid
MOST = 1e30  # what no loss is; nor is what is no number

Point = tuple[float, float]


@dataclass(frozen=True)
class Axes:
    """Where a step and its loss are in the picture."""

    last: float
    least: float
    most: float

    def at(self, step: float, loss: float) -> Point:
        height = (loss - self.least) / (self.most - self.least)
        return LEFT + (RIGHT - LEFT) * step / self.last, BOTTOM - (BOTTOM - TOP) * height


def draw(records: Sequence[Record], file: Path) -> None:
    """Draws what a log says into a file; nothing where it says nothing yet."""
    losses, judged = logged(records, "loss"), logged(records, "val_loss")
    if not losses:
        return
    values = [loss for _, loss in (*losses, *judged)]
    axes = Axes(max(losses[-1][0], 1), 0.0, max(max(values), 1e-6) * 1.05)
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    _grid(pen, axes, font)
    for points, color, width in ((losses, STEPS, 1), (list(smooth(losses)), MEAN, 3), (judged, JUDGED, 3)):
        places = [axes.at(*point) for point in points]
        for one, other in pairwise(places):
            pen.line((*one, *other), color, width)
        if width > 1 and (color == JUDGED or len(places) == 1):
            for x, y in places:
                pen.ellipse((x - 4, y - 4, x + 4, y + 4), color)
    names = (("loss of each step", STEPS), ("running mean", MEAN), ("samples to judge by", JUDGED))
    for number, (name, color) in enumerate(names[: 3 if judged else 2]):
        pen.text((LEFT + 10 + 190 * number, 12), name, color, font)
    partial = file.with_name(f".{file.name}.partial")
    picture.save(partial, "PNG")
    partial.replace(file)


def logged(records: Sequence[Record], name: str) -> list[Point]:
    """The steps that have that number."""
    found = ((float(record["step"]), record.get(name)) for record in records)
    return [(step, float(value)) for step, value in found if isinstance(value, int | float) and abs(value) < MOST]


def smooth(points: Sequence[Point]) -> Iterator[Point]:
    """The running mean, corrected for its beginning."""
    mean = weight = 0.0
    for step, loss in points:
        mean, weight = MEMORY * mean + (1 - MEMORY) * loss, MEMORY * weight + (1 - MEMORY)
        yield step, mean / weight


def _grid(pen: ImageDraw.ImageDraw, axes: Axes, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> None:
    for line in range(LINES + 1):
        loss, step = axes.most * line / LINES, axes.last * line / LINES
        (_, y), (x, _) = axes.at(0, loss), axes.at(step, 0)
        pen.line((LEFT, y, RIGHT, y), GRID)
        pen.line((x, TOP, x, BOTTOM), GRID)
        pen.text((LEFT - 8, y), f"{loss:.3g}", INK, font, anchor="rm")
        pen.text((x, BOTTOM + 8), f"{step:.0f}", INK, font, anchor="mt")
    pen.text((RIGHT, HEIGHT - 8), "steps", INK, font, anchor="rb")
