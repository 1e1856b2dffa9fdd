"""Starts a page in a process of its own for a benchmark, and waits for it. Knows processes and ports, no figures."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APP = ("app.py",)  # the app as people start it
SERVED = ("-m", "benchmarks.served")  # the same page with a pulse, and a scripted engine of any pace


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def app(
    *flags: str,
    what: Sequence[str] = APP,
    timeout: float = 120.0,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, float]]:
    """A running page: its address, and seconds from the start of the process to a page that answers. `environment` is
    added to the process's own. Raises RuntimeError when no page comes."""
    start = time.perf_counter()
    with process(*flags, what=what, timeout=timeout, environment=environment) as (url, _):
        yield url, time.perf_counter() - start


@contextmanager
def process(
    *flags: str,
    what: Sequence[str] = APP,
    within: Sequence[str] = (),
    timeout: float = 120.0,
    environment: Mapping[str, str] | None = None,
    log: Path = Path(os.devnull),
) -> Iterator[tuple[str, int]]:
    """A running page: its address, and its process's id. `within` is a command that becomes the one behind it, `log`
    has what it writes. Raises RuntimeError when no page comes."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    start = time.perf_counter()
    with log.open("ab") as written:
        running = subprocess.Popen(
            [*within, sys.executable, *what, "--port", str(port), *flags],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=written,
            stderr=written,
        )
    try:
        while not _answers(f"{url}/config"):
            if running.poll() is not None or time.perf_counter() - start > timeout:
                raise RuntimeError("the app did not open its page")
            time.sleep(0.02)
        yield url, running.pid
    finally:
        running.terminate()
        running.wait(timeout=20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
