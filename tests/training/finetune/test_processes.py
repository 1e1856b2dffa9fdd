"""Fine-tuning as people call it: in a process that is told to end, and in two that train together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ovis_app.training.finetune.run_folder import RunFolder
from tests.training.finetune import runs
from tests.training.finetune.made import entry, picture, written
from tests.waiting import until

pytest.importorskip("peft", reason="peft isn't installed: pip install '.[finetune]'")

ROOT = Path(__file__).resolve().parents[3]
LAUNCHED = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")  # as accelerate does for GPUs


def environment(tmp_path: Path) -> dict[str, str]:
    """One with the package by which bitsandbytes would fetch code, which nobody may ask it for."""
    trap = tmp_path / "trap"
    trap.mkdir()
    fetch = f"def get_kernel(*_, **__):\n    open({str(tmp_path / 'sprung')!r}, 'w').close()\n    raise ImportError\n"
    (trap / "kernels.py").write_text(fetch, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{trap}", "OMP_NUM_THREADS": "1"}


@pytest.mark.long
def test_a_process_that_is_told_to_end_saves_first(tmp_path: Path) -> None:
    runs.samples(tmp_path)
    words = runs.words(tmp_path, "--epochs", "10000")
    out, about = tmp_path / "out", environment(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "ovis_app", "finetune", *words], env=about, cwd=tmp_path, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        until((out / "run.json").is_file)
        until(lambda: (out / "log.jsonl").is_file() and len(runs.losses(out)) > 2)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130
    last = runs.losses(out)[-1][0]
    assert f"step {last} is saved; to go on: python -m ovis_app finetune " in told and "--resume" in told
    assert RunFolder(out).checkpoints()[-1][0] == last
    assert not (tmp_path / "sprung").exists()


@pytest.mark.long
@pytest.mark.parametrize("method", ["lora", "full"])
def test_two_processes_learn_what_one_learns(method: str, tmp_path: Path) -> None:
    """Also where a batch has no picture, and one of them none at all: nobody waits for ever."""
    picture(tmp_path / "a.png", (40, 40))
    said = [entry(f"Number {number}?", f"{number * 7}", id=f"t{number}") for number in range(7)]
    said.append(entry("<image>\nWhat?", "A zib.", id="p", image="a.png"))
    written(tmp_path / "data.json", said)
    how = ("--dropout", "0") if method == "lora" else ("--method", "full")
    losses, about = [], environment(tmp_path)
    for name, start, batch in (("one", (), "4"), ("two", LAUNCHED, "2")):
        words = runs.words(tmp_path, *how, "--train", "llm,tower", "--batch", batch, out=name)
        command = [sys.executable, *start, "-m", "ovis_app", "finetune", *words]
        done = subprocess.run(command, env=about, cwd=tmp_path, text=True, capture_output=True, timeout=900)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("step 1/4") == 1, "one of them speaks"
        losses.append([loss for _, loss in runs.losses(tmp_path / name)])
    assert len(losses[1]) == 4 and losses[0] == pytest.approx(losses[1], abs=2e-3)
    assert not (tmp_path / "sprung").exists()
