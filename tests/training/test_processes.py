"""A run by the command line: two processes, killed while they train, go on from their last checkpoint."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

COMMAND = [sys.executable, "-m", "ovis_app.training.mini", "--tiny", "--processes", "2"]


@pytest.mark.long
def test_two_processes_that_are_killed_go_on_where_they_were(tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir()
    (work / "plan.json").write_text('{"see": 4, "whole": 400}')
    command = [*COMMAND, "--work", str(work), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
        while not (work / "see.pt").exists():
            assert run.poll() is None
            time.sleep(0.1)
        trains = psutil.Process(run.pid).children(recursive=True)
        run.kill()
    _, left = psutil.wait_procs(trains, timeout=60)
    assert len(trains) >= 2 and not left, "a command that is gone still trains"
    assert not out.exists()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2 and "add --resume" in again.stderr
    subprocess.run([*command, "--resume", "--steps", "5"], check=True, stdout=subprocess.DEVNULL)
    assert (out / "model.safetensors").exists() and re.search("Ovis2_5", (out / "config.json").read_text())
