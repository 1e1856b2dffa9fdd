"""Starts vLLM's server in the environment that it is installed in, and waits for it. Knows processes, flags and its
gauges; refuses to know what is asked of it. `make test-vllm` makes the environment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.server import ROOT, free_port

VARIABLE = "OVIS_VLLM"  # names a Python that has vLLM
ABSENT = f"vLLM isn't installed: `make test-vllm` does that, or {VARIABLE} names a Python that has it."
NAME = "AIDC-AI/Ovis2.5-9B"  # what the made-up checkpoints are served as
CONTEXT = 4096
FLAGS = (
    "--served-model-name", NAME, "--trust-remote-code", "--reasoning-parser", "qwen3", "--dtype", "float32",
    "--max-model-len", str(CONTEXT), "--limit-mm-per-prompt", '{"image": 8, "video": 1}',
    "--max-num-batched-tokens", "8192", "--enable-prompt-tokens-details", "--host", "127.0.0.1",
    "--enforce-eager", "--skip-mm-profiling",  # compiling, and trying the largest pictures, would each take minutes
)  # fmt: skip
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
STARTING = 1800.0  # seconds that it may take: a minute or two alone, much more beside other work
ENDING = 30.0


def python() -> Path | None:
    """A Python that has vLLM, by the variable or in the environment that `make test-vllm` makes; None without one."""
    found = Path(os.environ.get(VARIABLE) or ROOT / ".venv-vllm" / "bin" / "python")
    return found if any(found.parent.parent.glob("lib*/python*/site-packages/vllm/__init__.py")) else None


@contextmanager
def serving(model: Path, log: Path) -> Iterator[str]:
    """The address of a server that has this checkpoint, until the block ends. What it says goes into `log`. Raises
    RuntimeError when none comes."""
    program, port = python(), free_port()
    if program is None:
        raise RuntimeError(ABSENT)
    url = f"http://127.0.0.1:{port}"
    command = [program, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--port", str(port), *FLAGS]
    with log.open("wb") as said:
        server = subprocess.Popen(
            command, env=os.environ | ENVIRONMENT, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            end = time.monotonic() + STARTING
            while read(f"{url}/health") is None:
                if server.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"vLLM doesn't start; it said last:\n{log.read_text(errors='replace')[-3000:]}")
                time.sleep(0.5)
            yield url
        finally:
            _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """The server and the processes that it started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, how)
            server.wait(ENDING)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def read(url: str) -> str | None:
    """What a GET brings; None where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return str(response.read().decode())
    except (urllib.error.URLError, OSError):
        return None


def gauge(url: str, name: str) -> float:
    """The sum of one of vLLM's metrics, as "num_requests_running"."""
    rows = re.findall(rf"^vllm:{name}(?:\{{.*\}})? (\S+)$", read(f"{url}/metrics") or "", re.MULTILINE)
    if not rows:
        raise RuntimeError(f"vLLM tells no {name}")
    return sum(map(float, rows))
