"""A real server in a process of its own with a tiny checkpoint, and what it takes of the machine, seen from outside.

Knows processes, folders and /proc; refuses to know what is asked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks import server
from benchmarks.server import APP
from benchmarks.shapes import checkpoint

MEGABYTE = 1024 * 1024
LOG = "server.log"
LOADED = 300.0  # seconds that a page may take to open, and its model to answer
# Caches that a warm-up fills: what grows afterwards isn't they.
FLAGS = ("--device", "cpu", "--prefix-cache", str(16 * MEGABYTE), "--visual-cache", str(4 * MEGABYTE))
# The C library keeps freed memory, in a place for each thread and between what is still used. Here it has one place,
# and gives back at once what is large: what grows then is in use.
MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(MEGABYTE // 4)}


@dataclass(frozen=True)
class Running:
    """A server: where it answers, its process, and the folder for all that is temporary."""

    url: str
    process: psutil.Process
    temporary: Path

    def memory(self) -> float:
        """Megabytes that are its own, also those put aside by the system: what is mapped of files comes and goes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text("utf-8").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "VmSwap:"))) / 1024

    def threads(self) -> int:
        return int(self.process.num_threads())

    def descriptors(self) -> int:
        return int(self.process.num_fds())

    def children(self) -> int:
        return len(self.process.children(recursive=True))

    def figure(self, name: str) -> float:
        """What /metrics says of it, where the server was started with them."""
        lines = httpx.get(f"{self.url}metrics", timeout=60).text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def kept(self) -> float:
        """Megabytes of files in the temporary folder, also where only the process sees what is mounted there."""
        total = 0
        for folder, _, names in os.walk(f"/proc/{self.process.pid}/root{self.temporary}"):
            for name in names:
                try:
                    total += Path(folder, name).lstat().st_size
                except OSError:  # it went meanwhile
                    continue
        return total / MEGABYTE


@dataclass(frozen=True)
class Held:
    """What a server holds that has to come back."""

    threads: int
    descriptors: int
    children: int

    @classmethod
    def by(cls, server: Running) -> Held:
        return cls(server.threads(), server.descriptors(), server.children())

    def within(self, other: Held) -> bool:
        return (
            self.threads <= other.threads
            and self.descriptors <= other.descriptors
            and self.children <= other.children
        )  # fmt: skip

    def to(self, other: Held) -> str:
        """Both, in words."""
        return (
            f"threads {self.threads} → {other.threads}, descriptors {self.descriptors} → {other.descriptors}, "
            f"children {self.children} → {other.children}"
        )


@contextmanager
def running(
    folder: Path,
    *flags: str,
    what: Sequence[str] = APP,
    within: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """A server whose model is loaded. Its checkpoint is made in `folder`, where its log and all else lies, too. Raises
    RuntimeError where the page doesn't open, or the model never answers."""
    model, temporary = checkpoint("tiny", folder / "tiny"), folder / "temporary"
    temporary.mkdir(exist_ok=True)
    named = {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", **MALLOC, **(environment or {})}
    started = server.process(
        "--model",
        str(model),
        *FLAGS,
        *flags,
        what=what,
        within=within,
        environment=named,
        timeout=LOADED,
        log=folder / LOG,
    )
    with started as (url, pid):
        there = Running(f"{url}/", psutil.Process(pid), temporary)
        if not patiently(lambda: loaded(there.url), LOADED):
            raise RuntimeError(f"the model gave no answer within {LOADED:.0f} s")
        yield there


def loaded(url: str) -> bool:
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
    try:
        return httpx.post(f"{url}v1/chat/completions", json=body, timeout=60).status_code == 200
    except httpx.TimeoutException:
        return False


def patiently(condition: Callable[[], object], seconds: float) -> bool:
    """Whether it came true within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True
