"""Whether the link can stay open for a month: `python -m benchmarks.soak`, or `make soak`.

F7, F15, F16, F17 and F21 of docs/reliability.md, each against a real server in a process of its own with a tiny random
checkpoint, asked over HTTP as the page and as /v1. A table at the end, and JSON where it is asked for; exits with 1
where a figure misses its target. On two idle cores all of it takes about 50 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.report import commit, machine, versions
from benchmarks.soak import disk, hours, memory
from benchmarks.soak.figure import Figure, told

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
    options.only = [name.strip().upper() for name in (options.only or ",".join(NAMES)).split(",")]
    unknown = [name for name in options.only if name not in NAMES]
    if unknown:
        parser.error(f"{unknown[0]} is none of {', '.join(NAMES)}")
    return options


def main() -> int:
    options = parsed()
    found: list[Figure] = []
    for name in options.only:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            found.append(measures(options)[name](Path(folder)))
        print(f"{name}: {found[-1].found} ({time.perf_counter() - start:.0f} s)", file=sys.stderr, flush=True)
    print(told(found))
    print(f"\nLoad of the machine at the end: {os.getloadavg()[0]:.1f}; commit {commit()}")
    if options.json:
        about = {"benchmark": "soak", "date": datetime.now(UTC).date().isoformat(), "machine": machine()}
        about |= {"versions": versions(), "commit": commit(), "load": list(os.getloadavg())}
        about |= {"minutes": options.minutes, "conversations": options.conversations}
        figures = [one.as_dict() for one in found]
        options.json.write_text(json.dumps({**about, "figures": figures}, indent=1) + "\n", encoding="utf-8")
    return int(any(one.met is False for one in found))


if __name__ == "__main__":
    sys.exit(main())
