"""How every benchmark is asked and how it answers: shared flags, headlines with ratios, Markdown tables, one JSON form.

Knows machines, versions and files; refuses to know what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "transformers", "gradio", "av", "moviepy", "pillow")
RATES = ("/s",)  # units that end so count what gets done: more is better. Of seconds and bytes, less is.


@dataclass(frozen=True)
class Headline:
    """One figure that matters: `ours` beside the `other` way, both in `unit` and from the same run. `goal` is the ratio
    that is wanted at least, where one is."""

    name: str
    ours: float
    other: float
    unit: str
    goal: float | None = None

    @property
    def ratio(self) -> float:
        """Above 1 means that ours is better: ours / other for a rate (a unit that ends in "/s"), other / ours for
        whatever should be small (seconds, bytes)."""
        better, worse = (self.ours, self.other) if self.unit.endswith(RATES) else (self.other, self.ours)
        return better / worse if worse else float("inf")

    def as_dict(self) -> dict[str, Any]:
        """The five fields that every results file has."""
        return {"name": self.name, "ours": self.ours, "other": self.other, "ratio": self.ratio, "unit": self.unit}


def arguments(doc: str | None, *, shape: str | None = None, repeats: int = 3) -> argparse.ArgumentParser:
    """A parser with the flags that all benchmarks share; `--shape` only where a default `shape` is given."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"medians are of this many (default: {repeats})")
    if shape is not None:
        from benchmarks.shapes import SHAPES

        parser.add_argument("--shape", choices=SHAPES, default=shape, help=f"size of the random model ({shape})")
    return parser


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers are shown with three significant digits."""
    lines = [columns, ["---"] * len(columns), *([shown(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def shown(value: object) -> str:
    """A number as people read it; anything else as it is."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if value == 0 or value != value or abs(value) == float("inf"):
        return f"{value:g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{float(f'{value:.3g}'):g}"


def headlines(rows: Sequence[Headline]) -> str:
    """The headlines as a table, the ratio first."""
    cells = [(f"{row.ratio:.3g} x", row.name, row.ours, row.other, row.unit) for row in rows]
    goals = ["" if row.goal is None else f"{row.goal:g} x" for row in rows]
    if not any(goals):
        return table(("ratio", "what", "ours", "other way", "unit"), cells)
    wide = [(ratio, goal, *rest) for (ratio, *rest), goal in zip(cells, goals, strict=True)]
    return table(("ratio", "goal", "what", "ours", "other way", "unit"), wide)


def finish(
    options: argparse.Namespace,
    name: str,
    rows: Sequence[Headline],
    *,
    details: Mapping[str, Any] | None = None,
    unmeasured: Sequence[str] = (),
) -> None:
    """Prints a benchmark's headlines and what could not be measured, and writes `--json FILE` if it was asked for."""
    if rows:
        print(f"\n## {name}: ratios above 1 are ours being better\n\n{headlines(rows)}")
    for sentence in unmeasured:
        print(f"\nNot measured: {sentence}")
    if options.json:
        write(options.json, name, rows, details=details, unmeasured=unmeasured)


def write(
    file: Path,
    name: str,
    rows: Sequence[Headline],
    *,
    details: Mapping[str, Any] | None = None,
    unmeasured: Sequence[str] = (),
) -> None:
    """The results file: the machine, versions and commit, the headlines, then whatever `details` hold."""
    about = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "headline": [row.as_dict() for row in rows],
        "unmeasured": list(unmeasured),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**about, **(details or {})}, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the figures were measured on. `kind` is "gpu" or "cpu"."""
    gpu = _gpu()
    return {
        "kind": "gpu" if gpu else "cpu",
        "gpu": gpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": platform.machine(),
        "system": platform.system(),
    }


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def versions() -> dict[str, str]:
    """Python's version and those of the packages that the figures depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit that was measured, with "+" when files were changed since; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
