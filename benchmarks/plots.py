"""How cost grows, drawn from benchmarks/results: `python -m benchmarks.plots` writes an SVG for each plot and machine.

Knows the shape of the results files and a little SVG; measures nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 48, 20, 46, 40  # margins
# Readable on light and on dark ground, and a little better where the viewer says which.
STYLE = """text { font: 11px system-ui, sans-serif; fill: #7d8590 } .title { font-size: 13px; font-weight: 600 }
.grid { stroke: #8b949e; stroke-opacity: .3 } .ours { stroke: #2f81f7; fill: #2f81f7 }
.other { stroke: #db6d28; fill: #db6d28 } polyline { fill: none !important; stroke-width: 2 }
text.ours, text.other { stroke: none; font-weight: 600 }
@media (prefers-color-scheme: dark) { text { fill: #9da7b1 } }"""


@dataclass(frozen=True)
class Plot:
    """One plot: where its figures lie in a benchmark's results, and its words."""

    name: str
    benchmark: str
    key: str
    title: str
    across: str
    up: str
    other: str


PLOTS = (
    Plot("turns", "turns", "by_turns", "First token as a conversation grows", "turn", "s", "everything again"),
    Plot("tokens", "turns", "by_visual_tokens", "First token of turn 2", "visual tokens", "s", "everything again"),
    Plot("users", "users", "by_users", "All users together", "users", "tokens/s", "one at a time"),
)


def points(found: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """(across, ours, other) in order, from what a benchmark keeps: pairs or {"ours", "other"} by number."""
    rows = []
    for across, value in found.items():
        ours, other = (value["ours"], value["other"]) if isinstance(value, Mapping) else value
        rows.append((float(across), float(ours), float(other)))
    return sorted(rows)


def ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten from below `low` to above `high`, thinned to few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    tens = [10.0**power for power in range(first, last + 1)]
    fine = [ten * step for ten in tens for step in (1, 2, 5)] if last - first < 3 else tens
    below = [tick for tick in fine if tick <= low * 1.001][-1:]
    above = [tick for tick in fine if tick >= high * 0.999][:1]
    return [*below, *(tick for tick in fine if low < tick < high and tick not in (*below, *above)), *above]


def draw(plot: Plot, rows: Sequence[tuple[float, float, float]], about: str) -> str:
    """The plot as SVG: both axes logarithmic."""
    values = [value for row in rows for value in row[1:]]
    marks = ticks(min(values), max(values))
    ends = math.log(rows[0][0]), math.log(rows[-1][0])
    rise = math.log(marks[0]), math.log(marks[-1])

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log(value) - ends[0]) / ((ends[1] - ends[0]) or 1)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log(value) - rise[0]) / ((rise[1] - rise[0]) or 1)

    parts = [f'<text class="title" x="{LEFT}" y="16">{escape(plot.title)}, {escape(plot.up)}</text>']
    parts.append(f'<text x="{LEFT}" y="32">{escape(about)}</text>')
    for mark in marks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark:g}</text>')
    for across, *_ in rows:
        parts.append(f'<text x="{x(across):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{across:,g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(plot.across)}</text>')
    for place, kind, words in ((1, "ours", "ours"), (2, "other", plot.other)):
        line = [(x(row[0]), y(row[place])) for row in rows]
        parts.append(f'<polyline class="{kind}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in line)}"/>')
        parts += [f'<circle class="{kind}" cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>' for a, b in line]
        over = rows[-1][place] == max(rows[-1][1:])
        at = line[-1][1] + (-8 if over else 16)
        parts.append(f'<text class="{kind}" x="{WIDTH - RIGHT}" y="{at:.1f}" text-anchor="end">{escape(words)}</text>')
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    name = f'role="img" aria-label="{escape(plot.title)}, {escape(plot.across)}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {name}><style>{STYLE}</style>\n'
        + "\n".join(parts)
        + "</svg>\n"
    )


def about(result: Mapping[str, Any]) -> str:
    """The machine and the day, in a few words."""
    where = result["machine"]["gpu"] or f"{result['machine']['cores']} CPU cores"
    return f"{where}, shape {result.get('shape', '?')}, {result['date']}"


def draw_all(folder: Path = RESULTS) -> list[Path]:
    """Draws every plot whose figures are there; returns the files written."""
    written = []
    for plot in PLOTS:
        for file in sorted(folder.glob(f"{plot.benchmark}-*.json")):
            result = json.loads(file.read_text("utf-8"))
            rows = points(result.get(plot.key, {}))
            if len(rows) > 1:
                written.append(folder / f"{plot.name}-{result['machine']['kind']}.svg")
                written[-1].write_text(draw(plot, rows, about(result)), "utf-8")
    return written


if __name__ == "__main__":
    for written in draw_all():
        print(written.name)
