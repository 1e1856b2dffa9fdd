"""`python app.py` as a process: it answers fast, says what is wrong in a line, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.ui.serving import HeldBackend, Served, Wire, free_port
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[2]
APP = [sys.executable, str(ROOT / "app.py")]


def run(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*APP, *flags], capture_output=True, text=True, timeout=PATIENCE, env=os.environ | environment, check=False
    )


def test_help_answers_without_loading_gradio() -> None:
    code = (
        "import sys, contextlib, runpy\nsys.argv = ['app.py', '--help']\n"
        "with contextlib.suppress(SystemExit): runpy.run_path('app.py', run_name='__main__')\n"
        "assert not {'gradio', 'torch', 'transformers'} & set(sys.modules), 'heavy imports'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--model" in done.stdout


@pytest.mark.parametrize(
    ("flags", "variables", "named"),
    [(["--prot", "1"], {}, "--prot"), (["--port", "x"], {}, "--port"), ([], {"OVIS_PORT": "x"}, "OVIS_PORT"),
     (["--port", "99999"], {}, "99999"), ([], {"OVIS_BACKEND": "cloud"}, "OVIS_BACKEND")],
)  # fmt: skip
def test_a_wrong_flag_or_variable_is_one_clear_line(flags: list[str], variables: dict[str, str], named: str) -> None:
    done = run(*flags, **variables)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and named in done.stderr


@pytest.fixture
def process(tmp_path: Path):
    port = free_port()
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    environment.pop("GRADIO_TEMP_DIR", None)
    flags = ["--backend", "fake", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([*APP, *flags], stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    watchdog = threading.Timer(120, running.kill)
    watchdog.start()
    assert running.stdout is not None
    assert f"127.0.0.1:{port}" in running.stdout.readline()
    yield running, f"http://127.0.0.1:{port}/", tmp_path
    watchdog.cancel()
    running.kill()
    running.wait()


def test_sigterm_while_answering_ends_cleanly_and_leaves_nothing(process) -> None:
    running, url, folder = process
    wire = Wire(Served(url, HeldBackend(), None))
    wire.upload(ROOT / "assets" / "examples" / "shapes.png")
    assert list(folder.glob("ovis-*/*"))
    wire.send("slow")
    wire.start_answer()
    for message in wire.messages():
        if message["msg"] == "process_generating":
            break
    asked = time.monotonic()
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=PATIENCE) == 0
    assert time.monotonic() - asked < 10
    assert list(folder.glob("ovis-*")) == []
    wire.close()


def test_what_strangers_send_fills_no_log(process) -> None:
    _, url, folder = process
    wire = Wire(Served(url, HeldBackend(), None))
    wire.join(wire.event("box", "submit"), ["x" * 3_000_000])  # fewer values than it takes
    assert next(message for message in wire.messages() if message["msg"] == "process_completed")["success"] is False
    until(lambda: "ValueError" in (folder / "log").read_text())
    assert "characters more" in (folder / "log").read_text() and (folder / "log").stat().st_size < 50_000
    wire.close()
