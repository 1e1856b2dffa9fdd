"""One job of a stranger's making, done by one of our modules in a process that is killed after a while; and all such
processes, of which none outlives this one.

Run as a script it reads the job from stdin and writes what came of it to stdout. Knows processes; what the job is, the
module knows, by a function `work` of it.
"""

from __future__ import annotations

import atexit
import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_running: set[subprocess.Popen[bytes]] = set()
_ended = threading.Event()  # no more of them


class Killed(Exception):
    """It took too much, or failed, or this process ends."""


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
        with child(command, stdin=subprocess.PIPE) as process:
            said, _ = process.communicate(json.dumps(job).encode(), bounds.seconds)
            return json.loads(said)
    except (subprocess.TimeoutExpired, ValueError) as error:  # killed: what it wrote is no JSON
        raise Killed from error


@contextmanager
def child(
    command: Sequence[str], *, stdin: BinaryIO | int, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs, in `folder` if it writes there; killed, reaped and its pipes closed at the end of the block.
    Raises Killed where this process ends."""
    process = subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder
    )  # fmt: skip
    _running.add(process)
    try:
        if _ended.is_set():
            raise Killed
        yield process
    finally:
        _running.discard(process)
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what is left to write has no reader any more
                    pipe.close()


def end_all() -> None:
    """Kills what runs, and whatever would come later: this process ends, and its threads may never come to that."""
    _ended.set()
    for process in list(_running):
        process.kill()


atexit.register(end_all)


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
