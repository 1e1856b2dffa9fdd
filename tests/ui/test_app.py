"""`python app.py` as a process: it answers fast, says what is wrong in a line, and leaves nothing behind."""

from __future__ import annotations

import io
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO, cast
from urllib.parse import urlsplit

import httpx
import pytest

from ovis_app.serve import ShortWrites
from tests.ui.serving import HeldBackend, Served, Wire, free_port
from tests.waiting import PATIENCE, ticks_until, until

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
    stored = wire.upload(ROOT / "assets" / "examples" / "shapes.png")
    assert Path(stored).is_relative_to(folder) and stat.S_IMODE(next(folder.glob("ovis-*")).stat().st_mode) == 0o700
    streams = ExitStack()
    for tab in (wire, Wire(wire.served)):
        messages = tab.frames(tab.start("slow"))
        next(message for message in messages if message["kind"] == "answer")
        streams.callback(messages.close)  # it stays open
    asked = {"messages": [{"role": "user", "content": "slow"}], "stream": True}
    program = streams.enter_context(httpx.stream("POST", f"{url}v1/chat/completions", json=asked, timeout=PATIENCE))
    next(program.iter_lines())
    place = urlsplit(url)
    with streams, socket.create_connection((place.hostname, place.port)) as upload:  # half of one
        kind = "Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: 900000"
        part = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' + b"x" * 300_000
        upload.sendall(f"POST /gradio_api/upload HTTP/1.1\r\nHost: {place.netloc}\r\n{kind}\r\n\r\n".encode() + part)
        until(lambda: list(folder.glob("ovis-*/ovis-*/*/coming")))
        for _ in range(3):
            running.send_signal(signal.SIGTERM)
            time.sleep(0.01)  # so that each is a signal of its own
        took = ticks_until(lambda: running.poll() is not None, 5, "it didn't end")
    assert running.returncode == 0
    assert list(folder.glob("ovis-*")) == [] and "Traceback" not in (folder / "log").read_text()
    print(f"ended in {took:.1f} s")
    wire.close()


def test_of_a_traceback_that_is_printed_one_line_stays_without_what_was_sent() -> None:
    log = io.StringIO()
    short = cast(TextIO, ShortWrites(log))
    try:
        try:
            raise KeyError("canary")
        except KeyError as error:
            raise ValueError("Received inputs:\n    [canary]\n") from error
    except ValueError:
        traceback.print_exc(file=short)
    short.write("a line of ours\n")
    lines = log.getvalue().splitlines()
    assert "canary" not in log.getvalue() and lines[-1] == "a line of ours" and len(lines) == 3
    assert all(line.startswith("An event failed: ") and "test_app.py" in line for line in lines[:-1])
    short.write("x" * 5000)
    assert log.getvalue().endswith("… and 1,000 characters more\n")
