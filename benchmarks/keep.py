"""Keeps results in benchmarks/results, and writes them into the README: `python -m benchmarks.keep` does that anew.

Knows the form of results files; measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.report import Headline, headlines

README = Path(__file__).resolve().parent / "README.md"
BEGIN, END = "<!-- results: written by benchmarks/keep.py -->\n", "<!-- end of results -->\n"
KINDS = {"cpu": "Two CPU cores", "gpu": "One GPU"}


def keep(found: Mapping[str, Mapping[str, Any]], folder: Path = plots.RESULTS, readme: Path = README) -> None:
    """Keeps results as NAME-cpu.json or NAME-gpu.json, draws the plots anew and writes the README's part."""
    folder.mkdir(exist_ok=True)
    for name, result in found.items():
        file = folder / f"{name}-{result['machine']['kind']}.json"
        file.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    plots.draw_all(folder)
    write(folder, readme)


def write(folder: Path = plots.RESULTS, readme: Path = README) -> None:
    """Puts the tables of all kept results between the README's two marks."""
    before, rest = readme.read_text("utf-8").split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(before + BEGIN + section(folder) + END + after, "utf-8")


def section(folder: Path = plots.RESULTS) -> str:
    """The last results of both kinds of machine, as Markdown."""
    parts = []
    for kind, title in KINDS.items():
        parts.append(f"\n## {title}\n")
        results = [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob(f"*-{kind}.json"))]
        parts += [about(result) for result in results] or ["Not measured yet.\n"]
        drawn = sorted(file.name for file in folder.glob(f"*-{kind}.svg"))
        parts += [f"![How cost grows: {name.partition('-')[0]}](results/{name})" for name in drawn]
    return "\n".join(parts) + "\n\n"


def about(result: Mapping[str, Any]) -> str:
    """One benchmark's headlines, and what could not be measured."""
    rows = [Headline(row["name"], row["ours"], row["other"], row["unit"]) for row in result["headline"]]
    shape = f", shape {result['shape']}" if "shape" in result else ""
    shape += f", at a load of {result['load'][0]:.0f} to {result['load'][1]:.0f}" if "load" in result else ""
    lines = [f"### {result['benchmark']}: {result['date']}{shape}, commit {result['commit']}\n"]
    lines += [headlines(rows) + "\n"] if rows else []
    lines += [f"Not measured: {sentence}\n" for sentence in result.get("unmeasured", ())]
    return "\n".join(lines)


if __name__ == "__main__":
    plots.draw_all()
    write()
