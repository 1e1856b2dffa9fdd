"""Everything that a GPU must show, in one run on a bare machine: `python -m benchmarks.gpu_check`.

The engine's tests where pytest is installed, then `decode`, `users` and `turns` of the shapes 2b and 9b, and one table.
Each part runs in a process of its own with a limit of time: one that fails or takes too long is said, and the rest goes
on. Needs torch and transformers, neither av nor Gradio. `--shape tiny --device cpu` tries the script itself.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import ROOT, commit, machine, table, versions

SECONDS = 470  # of the whole run: under 8 minutes
LEAST = 10  # seconds: with fewer left a part isn't begun
SHAPES = ("2b", "9b")
SIZES: dict[str, tuple[str, ...]] = {
    "decode": ("--repeats", "1", "--new", "128", "--prompts", "1000"),
    "users": ("--repeats", "1", "--counts", "1", "16", "--new", "32", "--tokens", "256"),
    "turns": ("--repeats", "1", "--turns", "2", "--most-tokens", "1024"),
}
LIMITS = {"decode": 90, "users": 110, "turns": 130, "tests": 100}  # seconds of a part
# The table of goals: ratio to the other way, or seconds of ours at most.
RATIOS = {
    "2b": {"decode_of_limit": 0.60, "users_16_beside_one": 8.0},
    "9b": {"decode_of_limit": 0.75, "users_16_beside_one": 8.0},
}
AT_MOST = {"ready_first_answer": 1.0, "first_token_16_pictures": 0.3, "gap_while_prefill": 0.1}


@dataclass(frozen=True)
class Part:
    """One process of the run."""

    name: str  # of a benchmark, or "tests"
    shape: str
    command: tuple[str, ...]  # what Python is to run

    @property
    def label(self) -> str:
        return f"{self.name} {self.shape}".strip()


@dataclass(frozen=True)
class Outcome:
    """What a part brought: headlines, or why there are none. `seconds` of the clock."""

    part: Part
    headline: tuple[dict[str, Any], ...]
    problem: str
    seconds: float


def parts(shapes: Sequence[str], device: str, only: Sequence[str], folder: Path) -> list[Part]:
    """In their order: what is short comes first, so that a run that is cut off tells most."""
    made = [
        Part(
            name,
            shape,
            ("-m", f"benchmarks.{name}", "--shape", shape, "--device", device, *SIZES[name],
             "--json", str(folder / f"{name}-{shape}.json")),
        )
        for shape in shapes
        for name in SIZES
        if name in only
    ]  # fmt: skip
    tests = Part("tests", "", ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/engine"))
    return [*made, tests] if "tests" in only else made


def done(part: Part, folder: Path, seconds: float) -> Outcome:
    """Runs a part for so many seconds at most; what it prints is shown as it comes."""
    print(f"\n# {part.label}\n", flush=True)
    start = time.perf_counter()
    problem = ""
    try:
        ended = subprocess.run([sys.executable, "-W", "ignore", *part.command], cwd=ROOT, timeout=seconds)
        problem = f"failed with {ended.returncode}: see above" if ended.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"not over after {seconds:.0f} s"
    file = folder / f"{part.name}-{part.shape}.json"
    found = json.loads(file.read_text("utf-8"))["headline"] if file.is_file() else ()
    return Outcome(part, tuple(found), problem, time.perf_counter() - start)


def all_of(chosen: Sequence[Part], folder: Path, seconds: float) -> list[Outcome]:
    """Each part within its own limit and what is left of `seconds`."""
    end = time.perf_counter() + seconds
    outcomes = []
    for part in chosen:
        left = end - time.perf_counter()
        if part.name == "tests" and importlib.util.find_spec("pytest") is None:
            outcomes.append(Outcome(part, (), "pytest isn't installed", 0.0))
        elif left < LEAST:
            outcomes.append(Outcome(part, (), "no time was left", 0.0))
        else:
            outcomes.append(done(part, folder, min(LIMITS[part.name], left)))
    return outcomes


def goal_of(shape: str, row: dict[str, Any]) -> tuple[str, str]:
    """The goal of a headline in words, and whether it is reached; both empty where there is none."""
    ratio, most = RATIOS.get(shape, {}).get(row["name"]), AT_MOST.get(row["name"])
    if shape not in SHAPES or (ratio is None and most is None):
        return "", ""
    if most is not None:
        return f"at most {most:g} s", "yes" if row["ours"] <= most else "no"
    return f"{ratio:g} x", "yes" if row["ratio"] >= ratio else "no"


def summary(outcomes: Sequence[Outcome]) -> str:
    """All figures in one table, then what failed, then where the time went."""
    rows = [
        (one.part.shape, row["name"], f"{row['ratio']:.3g} x", row["ours"], row["other"], row["unit"],
         *goal_of(one.part.shape, row))
        for one in outcomes
        for row in one.headline
    ]  # fmt: skip
    said = [f"{one.part.label}: {one.problem or 'done'}, {one.seconds:.0f} s" for one in outcomes]
    columns = ("shape", "what", "ratio", "ours", "other way", "unit", "goal", "reached")
    return "\n".join([table(columns, rows), "", *said])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", default=list(SHAPES), help="of the random models (2b 9b)")
    parser.add_argument("--only", nargs="+", choices=[*SIZES, "tests"], default=[*SIZES, "tests"], help="some parts")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of the whole run, at most ({SECONDS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    start = time.perf_counter()
    about = {"machine": machine(), "versions": versions(), "commit": commit()}
    print(json.dumps(about), flush=True)
    with tempfile.TemporaryDirectory() as made:
        chosen = parts(options.shape, options.device, options.only, Path(made))
        outcomes = all_of(chosen, Path(made), options.seconds)
    print(f"\n# All: ratios above 1 are ours being better\n\n{summary(outcomes)}")
    print(f"\n{time.perf_counter() - start:.0f} s in all")
    if options.json:
        found = [{"part": one.part.label, "problem": one.problem, "headline": one.headline} for one in outcomes]
        options.json.write_text(json.dumps({**about, "parts": found}, indent=1) + "\n", encoding="utf-8")
    return int(any(one.problem for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
