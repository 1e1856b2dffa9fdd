"""One job of a stranger's making, done by one of our modules in a process that is killed after a while.

Run as a script it reads the job from stdin and writes what came of it to stdout. Knows processes; what the job is, the
module knows, by a function `work` of it.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Killed(Exception):
    """It took too much, or failed."""


@dataclass(frozen=True)
class Bounds:
    """Seconds of the clock; seconds of a processor and bytes of address space, where the system counts them."""

    seconds: float
    processor_seconds: int
    memory: int


def done(module: str, job: Any, bounds: Bounds) -> Any:
    """What the module's `work` returns for the job; both are JSON. Raises Killed."""
    command = [sys.executable, "-P", __file__, module, str(bounds.processor_seconds), str(bounds.memory)]
    try:  # -P: this folder stays off the child's path
        ended = subprocess.run(
            command, input=json.dumps(job).encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=bounds.seconds,
        )  # fmt: skip
        return json.loads(ended.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:  # killed: what it wrote is no JSON
        raise Killed from error


def _bound(processor_seconds: int, memory: int) -> None:
    try:
        import resource  # not on Windows, where the clock alone counts
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (processor_seconds, processor_seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def main() -> None:
    """Does one job."""
    module, processor_seconds, memory = sys.argv[1:]
    _bound(int(processor_seconds), int(memory))
    sys.path.append(str(Path(__file__).parent.parent))  # ours comes behind all else
    json.dump(importlib.import_module(module).work(json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
