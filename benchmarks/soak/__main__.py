"""Whether the link can stay open for a month: `python -m benchmarks.soak`, or `make soak`.

F7, F15, F16, F17 and F21 of docs/reliability.md, each against a real server in a process of its own with a tiny random
checkpoint, asked over HTTP as the page and as /v1. A table at the end, and JSON after each figure where it is asked
for; exits with 1 where a figure misses its target or isn't measured to its end, and keeps the log of its server then.
On two idle cores all of it takes about 50 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.report import commit, machine, versions
from benchmarks.soak import disk, hours, memory
from benchmarks.soak.figure import Figure, told
from benchmarks.soak.server import LOG

NAMES = ("F7", "F15", "F16", "F17", "F21")


def measures(options: argparse.Namespace) -> dict[str, Callable[[Path], Figure]]:
    return {
        "F7": memory.out_of_memory,
        "F15": lambda folder: memory.conversations(folder, options.conversations),
        "F16": disk.uploads,
        "F17": disk.full_disk,
        "F21": lambda folder: hours.soaked(folder, options.minutes),
    }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="some of the figures, as F15,F21")
    parser.add_argument("--minutes", type=float, default=30.0, help="of F21 (30; 2 where there is no time)")
    parser.add_argument("--conversations", type=int, default=500, help="of F15 (500)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    if options.conversations < memory.FEWEST:
        parser.error(f"Fewer than {memory.FEWEST} conversations say nothing of memory: give --conversations more.")
    if not 0 < options.minutes < float("inf"):
        parser.error("--minutes is a number above 0.")
    options.only = [name.strip().upper() for name in (options.only or ",".join(NAMES)).split(",")]
    unknown = [name for name in options.only if name not in NAMES]
    if unknown:
        parser.error(f"{unknown[0]} is none of {', '.join(NAMES)}")
    return options


def measured(name: str, measure: Callable[[Path], Figure]) -> Figure:
    """The figure, or why it wasn't measured to its end. Of its folder the server's log alone stays, where it is
    missed."""
    folder = Path(tempfile.mkdtemp(prefix=f"soak-{name}-"))
    try:
        figure = measure(folder)
    except Exception as error:  # whatever it is, it is this figure's, and the others are measured
        figure = Figure(name, "", "", f"not measured to its end: {type(error).__name__}: {error}", False)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    log = folder / LOG
    if figure.met is False and log.exists():
        kept = Path(log.rename(folder.with_suffix(".log")))
        figure = replace(figure, log=str(kept))
    shutil.rmtree(folder, ignore_errors=True)
    return figure


def written(options: argparse.Namespace, found: Sequence[Figure]) -> None:
    about = {"benchmark": "soak", "date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    about |= {"versions": versions(), "commit": commit(), "load": list(os.getloadavg())}
    about |= {"minutes": options.minutes, "conversations": options.conversations}
    figures = [one.as_dict() for one in found]
    options.json.write_text(json.dumps({**about, "figures": figures}, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    options = parsed()
    found: list[Figure] = []
    for name in options.only:
        start = time.perf_counter()
        found.append(measured(name, measures(options)[name]))
        print(f"{name}: {found[-1].found} ({time.perf_counter() - start:.0f} s)", file=sys.stderr, flush=True)
        if options.json:
            written(options, found)
    print(told(found))
    print(f"\nLoad of the machine at the end: {os.getloadavg()[0]:.1f}; commit {commit()}")
    return int(any(one.met is False for one in found))


if __name__ == "__main__":
    sys.exit(main())
