"""`ovis batch` that is killed or finds no room, wherever that is: the next run answers the rest, no row twice."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ovis_app.cli import main

ROOT = Path(__file__).parent.parent
ROWS = 24
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills need a system that forks")

# One interpreter, whose children run the command: by `how` killed as it answers the nth question ("answer"), killed as
# the nth byte of the file is exceeded ("byte"), or told at that byte that there is no room ("full").
CHILDREN = """
import json, os, resource, signal, sys, threading
from ovis_app.backends.fake import FakeBackend
from ovis_app.cli import main

source, out, *tries = sys.argv[1:]
for one in tries:
    how, at = one.split(":")
    child = os.fork()
    if not child:
        if how == "answer":
            asked, lock, whole = iter(range(10**6)), threading.Lock(), FakeBackend.stream
            def stream(self, request):
                with lock:
                    if next(asked) == int(at):
                        os.kill(os.getpid(), signal.SIGKILL)
                return whole(self, request)
            FakeBackend.stream = stream
        else:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if how == "byte" else signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(at), resource.RLIM_INFINITY))
        os._exit(main(["batch", source, "--out", out, "--backend", "fake", "--batch-size", "4"]))
    status = os.waitpid(child, 0)[1]
    print(json.dumps({"code": os.waitstatus_to_exitcode(status), "size": os.path.exists(out) and os.path.getsize(out)}))
"""


def tried(source: Path, out: Path, *tries: str) -> tuple[list[dict[str, int]], str]:
    """How each try ended, and what they said."""
    command = [sys.executable, "-c", CHILDREN, str(source), str(out), *tries]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def questions(folder: Path) -> Path:
    source = folder / "in.jsonl"
    rows = [{"id": f"row {n}", "prompt": f'Line {n},\n"ü"'} for n in range(ROWS)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source


def check_all_answered_once(source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = len(read(out))
    assert main(["batch", str(source), "--out", str(out), "--backend", "fake"]) == 0
    said = capsys.readouterr().err
    rows = read(out)
    assert [row["id"] for row in rows] == [f"row {n}" for n in range(ROWS)]
    assert all(row["text"].strip() == f"You said: {row['prompt']}" and not row["error"] for row in rows)
    assert f"{ROWS - before} answered, 0 failed, {before} answered before" in said and before > 4


def read(out: Path) -> list[dict[str, str]]:
    """The rows that are whole."""
    text = out.read_bytes().decode("utf-8-sig", "ignore")
    if out.suffix == ".csv":
        return [row for row in csv.DictReader(text.splitlines(keepends=True)) if (row["stats"] or "").endswith("}")]
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_killed_run_goes_on_where_it_was(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = questions(tmp_path), tmp_path / f"out{suffix}"
    ended, _ = tried(source, out, "byte:1", "answer:0", "byte:700", "answer:6", "byte:4000", "answer:5", "byte:7001")
    assert {one["code"] for one in ended} == {-signal.SIGKILL, -signal.SIGXFSZ}
    sizes = [one["size"] for one in ended]
    assert sizes[2] == 700 and sizes[4] == 4000 and sizes[6] == 7001, "torn in the midst of a row"
    check_all_answered_once(source, out, capsys)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_disk_that_is_full_is_a_sentence_and_nothing_is_lost(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = questions(tmp_path), tmp_path / f"out{suffix}"
    ended, said = tried(source, out, "full:0", "full:700", "full:701", "full:4000")
    assert [(one["code"], one["size"]) for one in ended] == [(2, 0), (2, 700), (2, 701), (2, 4000)]
    sentence = f"out{suffix} can't be written: check the folder and the free disk space."
    assert said.count(sentence) == 4 and "Traceback" not in said
    check_all_answered_once(source, out, capsys)
