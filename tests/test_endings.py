"""A process that is told to end: soon, with 0, and nothing of it is left, wherever it is just then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from ovis_app import bounded_process, endings
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.bounded_process import Bounds, Killed
from ovis_app.limits import Limits
from ovis_app.media import decoder_process
from ovis_app.settings import Settings
from ovis_app.stop import NEVER, Stopped
from tests.backends.test_model_switch import FOLDERS
from tests.checkpoints.hub_server import Hub, serve
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")


HELD = """
import pathlib, time
pathlib.Path(__file__).with_name("held").touch()
time.sleep(600)
"""


@contextmanager
def opening(folder: Path, *, ignored: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A page that is about to be opened: it has its folder, and imports Gradio, which never ends here."""
    (folder / "gradio.py").write_text(HELD)
    (folder / "own").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "own"), "PYTHONPATH": str(folder)}
    environment.pop("GRADIO_TEMP_DIR", None)
    words = [sys.executable, "app.py", "--backend", "fake", "--port", "0"]
    hang_up = signal.SIG_IGN if ignored else signal.SIG_DFL
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGHUP, hang_up),
    )  # fmt: skip
    try:
        until((folder / "held").exists)
        assert list(folder.glob("own/ovis-*/lock"))
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_page_that_is_about_to_open_ends_at_once(name: str, tmp_path: Path) -> None:
    with opening(tmp_path) as process:
        process.send_signal(getattr(signal, name))
        said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said, list((tmp_path / "own").iterdir())) == (0, (b"", b""), [])


def test_what_nohup_keeps_from_a_process_does_not_end_it(tmp_path: Path) -> None:
    with opening(tmp_path, ignored=True) as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_what_does_not_come_to_its_end_is_left_behind() -> None:
    """Under an import, or a step of torch, an interpreter that goes down aborts."""
    code = (
        "import threading, atexit\nfrom ovis_app import endings\n"
        "atexit.register(print, 'the interpreter went down')\n"
        "with endings.Ending() as ending:\n"
        "    ending.at_once = False\n    print('up', flush=True)\n    ending.wait()\n"
        "    endings.within(0.1, lambda: threading.Event().wait())\n"
        "endings.leave(0)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        for _ in range(5):
            process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=PATIENCE)[0] == "" and process.returncode == 0


HELD_IN_A_LIBRARY = """
import atexit, hashlib, sys
from ovis_app import endings
endings.END_SECONDS = 0.2
atexit.register(print, "the interpreter went down")
def held():
    words = "up\\n"
    while True:
        try:
            said, words = words, ""
            print(said, end="", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes in C, where no signal is heard
        except KeyboardInterrupt:
            pass  # it came before
with endings.at_last(lambda: print("tidied")):
    if sys.argv[1] == "page":
        with endings.Ending() as ending:
            ending.at_once = False
            held()
    with endings.as_ctrl_c():
        held()
"""


@pytest.mark.parametrize(("which", "code"), [("page", 0), ("command", 130)])
def test_a_process_whose_main_thread_hears_nothing_is_left_in_order(which: str, code: int) -> None:
    command = [sys.executable, "-c", HELD_IN_A_LIBRARY, which]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        try:
            process.send_signal(signal.SIGTERM)
            assert (process.communicate(timeout=PATIENCE)[0], process.returncode) == ("tidied\n", code)
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_who_ends_a_command_twice_ends_it_in_order(name: str) -> None:
    """As people press Ctrl-C, once more while it is being left."""
    code = (
        "import time\nfrom ovis_app import endings\n"
        "def tidy():\n    print('tidies', flush=True)\n    time.sleep(0.3)\n    print('tidied', flush=True)\n"
        "with endings.at_last(tidy):\n    endings.leave(130)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "tidies\n"
        process.send_signal(getattr(signal, name))
        assert (process.communicate(timeout=PATIENCE), process.returncode) == (("tidied\n", ""), 130)


def test_what_ends_a_forked_process_ends_that_one_alone() -> None:
    """As a Space's processes are, which are forked for an answer each."""
    code = (
        "import os, signal, time\nfrom ovis_app import endings\nendings.END_SECONDS = 0.1\n"
        "with endings.Ending() as ending:\n"
        "    ending.at_once = False\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        ending.wait()\n        os._exit(7)\n"
        "    time.sleep(0.2)\n    os.kill(child, signal.SIGTERM)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "    time.sleep(0.5)\n    print('goes on', ending.is_set())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.stdout, done.returncode) == ("goes on False\n", 0), done.stderr


def test_a_command_that_is_ended_while_it_imports_leaves_nothing(tmp_path: Path) -> None:
    """A library's import may hold the main thread for long, and may swallow what a signal raises."""
    (tmp_path / "own").mkdir()
    (tmp_path / "torch.py").write_text(
        "import hashlib, pathlib\npathlib.Path(__file__).with_name('held').touch()\n"
        "while True:\n    try:\n        hashlib.pbkdf2_hmac('sha256', b'', b'', 10**7)\n"
        "    except BaseException:\n        pass\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path / "own"), "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, "-m", "ovis_app", "finetune", str(ROOT / "README.md"), "--out", str(tmp_path / "out")]
    with subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            until((tmp_path / "held").exists)
            assert list(tmp_path.glob("own/ovis-*"))
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=PATIENCE)[1]
        finally:
            process.kill()
    assert (process.returncode, said, list((tmp_path / "own").iterdir())) == (130, "ovis_app: stopped.\n", [])


def test_signals_that_follow_each_other_at_any_moment_end_the_wait() -> None:
    """Each may come while the one before is being heard, or the wait for it begins."""
    code = (
        "import signal, sys\nfrom ovis_app import endings\n"
        "ending = endings.Ending()\nending.at_once = False\nleft = [5]\n"
        "def again(frame, event, _):\n"
        "    if left and event in ('line', 'return') and frame.f_code.co_name in ('set', '_hear', 'wait'):\n"
        "        left[0] -= 1\n        left[0] or left.clear()\n        signal.raise_signal(signal.SIGTERM)\n"
        "    return again\n"
        "with ending:\n    sys.settrace(again)\n    ending.wait()\n    sys.settrace(None)\n"
        "print(ending.is_set())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.stdout == "True\n", done.stderr


def test_decoders_end_with_the_process_whatever_they_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = tmp_path / "decoder.py"
    decoder.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(decoder_process, "DECODER", decoder)
    monkeypatch.setattr(bounded_process, "_ended", threading.Event())

    def read() -> None:
        with decoder.open("rb") as file:
            list(decoder_process.records(file, {}, Limits(), NEVER))

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read)
        until(lambda: bounded_process._running)
        [child] = bounded_process._running
        bounded_process.end_all()
        assert isinstance(reading.exception(5), decoder_process.Broken) and child.returncode == -signal.SIGKILL
        assert isinstance(threads.submit(read).exception(5), Stopped)


def test_a_strangers_job_ends_with_the_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeps.py").write_text("import time\ndef work(job):\n    time.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(bounded_process, "_ended", threading.Event())
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(bounded_process.done, "sleeps", {}, Bounds(PATIENCE, 60, 1 << 30))
        until(lambda: bounded_process._running)
        bounded_process.end_all()
        assert isinstance(working.exception(5), Killed)


def test_a_model_that_is_being_fetched_for_a_change_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")

    def half() -> list[Path]:
        return [Path(at, name) for at, _, names in os.walk(tmp_path) for name in names if name.endswith(".incomplete")]

    with (
        serve(Hub("someone/Tiny-Ovis", FOLDERS["ovis2"], pace=20_000)) as hub,
        closing(LocalBackend(Settings(model=str(FOLDERS["ovis2.5"]), device="cpu"), Limits())) as backend,
    ):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        backend.change("someone/Tiny-Ovis")
        until(half)
        asked = time.monotonic()
        backend.close()
        assert half() == []
    print(f"closed in {time.monotonic() - asked:.1f} s")


def test_a_signal_is_heard_as_ctrl_c_by_commands() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), endings.as_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
    assert signal.getsignal(signal.SIGTERM) == before
