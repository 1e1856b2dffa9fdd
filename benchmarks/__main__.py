"""All benchmarks, one after another, and one table of what they found: `python -m benchmarks`.

Small sizes by default, about 7 minutes on two idle cores; `--full` takes each benchmark's own. `--keep` also keeps
the figures in benchmarks/results and the README, with plots. Each runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.keep import keep
from benchmarks.report import ROOT, commit, machine, table, versions

SMALL = {
    "turns": ("--repeats", "1", "--tokens", "256", "--turns", "8", "--most-tokens", "1568", "--gap-tokens", "1568"),
    "users": ("--repeats", "1", "--users", "8", "--new", "32", "--tokens", "64", "512"),
    "stream": ("--repeats", "1", "--shape", "tiny", "--tokens", "300"),
    "page": ("--tokens", "120"),
    "vision": ("--repeats", "1", "--most-tokens", "256", "--tiles", "4"),
    "video": ("--repeats", "1", "--minutes", "1.5"),
    "start": ("--repeats", "1"),
    "memory": (),
    "load": ("--only", "memory", "--dtypes", "bfloat16"),
    "decode": ("--repeats", "1"),
    "flood": ("--repeats", "1"),
    "vllm": (),
}
OPT_IN = ("vllm",)  # only where it is asked for by name: it takes minutes to start
FULL = {"users": ("--users", "32", "--tokens", "64", "512")}
SHAPED = ("turns", "users", "vision", "decode", "vllm")  # what `--shape` changes


def run(name: str, flags: Sequence[str], folder: Path) -> dict[str, Any] | None:
    """One benchmark's results, printed as it goes; None when it failed."""
    file = folder / f"{name}.json"
    print(f"\n# {name} {' '.join(flags)}\n", flush=True)
    start = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", *flags, "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    print(f"\n({time.perf_counter() - start:.0f} s)", flush=True)
    if done.returncode or not file.is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def summary(found: dict[str, dict[str, Any] | None]) -> str:
    """Every headline in one table, the ratio first; and what could not be measured, or failed."""
    rows = [
        (f"{row['ratio']:.3g} x", name, row["name"], row["ours"], row["other"], row["unit"])
        for name, result in found.items()
        for row in (result or {}).get("headline", ())
    ]
    lines = [table(("ratio", "benchmark", "what", "ours", "other way", "unit"), rows), ""]
    for name, result in found.items():
        lines += [f"{name}: failed"] if result is None else [f"{name}: not measured: {s}" for s in result["unmeasured"]]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SMALL, help=f"some of them (all but {', '.join(OPT_IN)})")
    parser.add_argument("--full", action="store_true", help="each benchmark's own sizes")
    parser.add_argument("--shape", help=f"size of the random model in {', '.join(SHAPED)}: tiny, 44m, 2b or 9b")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures there")
    parser.add_argument("--keep", action="store_true", help="keep the figures in benchmarks/results and README")
    options = parser.parse_args()
    found: dict[str, dict[str, Any] | None] = {}
    with tempfile.TemporaryDirectory() as made:
        for name in options.only or [name for name in SMALL if name not in OPT_IN]:
            flags = [*(FULL if options.full else SMALL).get(name, ())]
            if options.shape and name in SHAPED:
                flags += ["--shape", options.shape]
            found[name] = run(name, flags, Path(made))
    print(f"\n# All: ratios above 1 are ours being better\n\n{summary(found)}")
    if options.json:
        rows = [row for result in found.values() for row in (result or {}).get("headline", ())]
        about = {"machine": machine(), "versions": versions(), "commit": commit(), "headline": rows}
        options.json.write_text(json.dumps({**about, "benchmarks": found}, indent=1) + "\n", encoding="utf-8")
    if options.keep:
        keep({name: result for name, result in found.items() if result is not None})
    return int(None in found.values())


if __name__ == "__main__":
    sys.exit(main())
