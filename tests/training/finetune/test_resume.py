"""A run that was interrupted goes on as if nothing had happened: the same losses, the same bytes."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from ovis_app import cli, endings
from ovis_app.cli import finetune
from ovis_app.errors import BackendError
from ovis_app.training.finetune import answers
from ovis_app.training.finetune.interruption import Interruption
from ovis_app.training.finetune.loop import disk_is_full
from ovis_app.training.finetune.plan import Plan
from ovis_app.training.finetune.run_folder import STATE_FILE, RunFolder
from tests.training.finetune import runs
from tests.training.finetune.made import entry, written
from tests.waiting import PATIENCE, ticks_until

pytest.importorskip("peft", reason="peft isn't installed: pip install '.[finetune]'")

ROOT = Path(__file__).resolve().parents[3]
MORE = {
    "lora": ("--val", "0.3", "--dropout", "0.05"),
    "mixed": ("--val", "0.3"),
    "full": ("--method", "full", "--train", "llm,tower", "--val", "0.3"),
    "several": ("--dropout", "0.05", "--accumulate", "2"),
}
RESULT = {
    "lora": "adapter/adapter_model.safetensors",
    "mixed": "adapter/adapter_model.safetensors",
    "full": "merged/model.safetensors",
    "several": "adapter/adapter_model.safetensors",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples")
    runs.samples(path)
    written(path / "old.json", [entry(f"Old {number}?", "Yes.", id=f"o{number}") for number in range(9)])
    return path


def more(folder: Path, method: str) -> tuple[str, ...]:
    """Flags of a run."""
    return (*MORE[method], *(("--mix", f"{folder / 'old.json'}:0.2") if method == "mixed" else ()))


@pytest.fixture(scope="module", autouse=True)
def short_answers() -> Iterator[None]:
    """What has learnt nothing talks for ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "LONGEST", 4)
        yield


@pytest.fixture(scope="module")
def whole(folder: Path) -> Callable[[str], Path]:
    """The folder of a run that nobody interrupted."""

    def ran(method: str) -> Path:
        out = folder / f"whole-{method}"
        if not out.exists():
            assert runs.run(runs.words(folder, *more(folder, method), out=out.name)) == 0
        return out

    return ran


def behind(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], Any]) -> None:
    """Does something once a step was logged."""
    record = RunFolder.record

    def recorded(self: RunFolder, values: Any) -> None:
        record(self, values)
        if values["step"] == step and "loss" in values:
            act()

    monkeypatch.setattr(RunFolder, "record", recorded)


@pytest.mark.parametrize(
    ("method", "signal_number"),
    [
        ("mixed", signal.SIGINT),
        pytest.param("lora", signal.SIGINT, marks=pytest.mark.long),
        pytest.param("full", signal.SIGTERM, marks=pytest.mark.long),
    ],
)
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    method: str, signal_number: signal.Signals, folder: Path, whole: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Also where each epoch has old samples of its own among the others."""
    expected, handlers = whole(method), [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    words = runs.words(folder, *more(folder, method), out=f"ended-{method}")
    out = folder / f"ended-{method}"
    with monkeypatch.context() as patch:
        patch.setattr(endings, "END_SECONDS", PATIENCE)  # this process is to go on
        behind(patch, 1, lambda: signal.raise_signal(signal_number))
        assert cli.main(["finetune", *words]) == 130
    told = capsys.readouterr()
    assert "what is learnt is saved first" in told.out
    assert "step 2 is saved; to go on: " in told.err and "--resume\n" in told.err
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert len(runs.losses(out)) == 2 and not (out / "adapter").exists()
    assert runs.run([*words, "--resume"]) == 0
    assert runs.losses(out) == runs.losses(expected)
    assert (out / RESULT[method]).read_bytes() == (expected / RESULT[method]).read_bytes()
    judged = [[record["val_loss"] for record in runs.log(one) if "val_loss" in record] for one in (out, expected)]
    assert judged[0] == judged[1] and len(judged[0]) == 2
    assert sum("before" in record for record in runs.log(out)) == 1


def test_a_signal_in_the_middle_of_a_line_is_heard() -> None:
    """As where `less` has filled up: the line waits to be read, and Python writes no other into it."""

    class Pipe(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            if not interruption.asked:
                signal.raise_signal(signal.SIGINT)
            return len(data)

    out = io.TextIOWrapper(io.BufferedWriter(Pipe()))
    with Interruption(partial(print, file=out, flush=True)) as interruption:
        interruption.say("step 1")
    assert interruption.asked


def test_of_a_step_of_several_batches_the_rest_is_dropped_and_learnt_anew(
    folder: Path, whole: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a step may take minutes. What it drew, for its dropout, is drawn once more."""
    expected, out = whole("several"), folder / "dropped"
    words = runs.words(folder, *MORE["several"], out=out.name)
    with monkeypatch.context() as patch:
        behind(patch, 1, lambda: signal.raise_signal(signal.SIGINT))
        assert cli.main(["finetune", *words]) == 130
    assert len(runs.losses(out)) == 1 and [step for step, _ in RunFolder(out).checkpoints()] == [1]
    assert runs.run([*words, "--resume"]) == 0
    assert runs.losses(out) == runs.losses(expected)
    assert (out / RESULT["several"]).read_bytes() == (expected / RESULT["several"]).read_bytes()


SLOW = """
import hashlib, sys
from transformers import Trainer
from ovis_app.__main__ import main
whole, begun = Trainer.training_step, []
def step(self, *given, **more):
    begun.append(1)
    if len(begun) == 3:
        print("a long step", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes in C, where no signal is heard
    return whole(self, *given, **more)
Trainer.training_step = step
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal there")
def test_a_step_that_is_long_is_not_waited_for(folder: Path, whole: Callable[[str], Path], tmp_path: Path) -> None:
    expected, out = whole("lora"), folder / "long-step"
    words = runs.words(folder, *MORE["lora"], "--save-every", "1", out=out.name)
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, "finetune", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None and any(line == "a long step\n" for line in process.stdout)
            assert list(tmp_path.glob("ovis-*"))
            process.send_signal(signal.SIGTERM)
            took = ticks_until(lambda: process.poll() is not None, 6, "it waited for the step")
            told = process.communicate(timeout=PATIENCE)[1]
        finally:
            process.kill()
    print(f"ended in {took:.1f} s")
    assert process.returncode == 130 and list(tmp_path.glob("ovis-*")) == []
    assert "step 2 is saved; to go on: " in told and told.endswith("stopped.\n")
    assert runs.run([*words, "--resume"]) == 0
    assert runs.losses(out) == runs.losses(expected)
    assert (out / RESULT["lora"]).read_bytes() == (expected / RESULT["lora"]).read_bytes()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signal there")
def test_a_terminal_that_is_closed_loses_no_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs in it is told twice, by the system and by the shell, and nobody reads what it says from then on."""
    out, words = folder / "closed", runs.words(folder, out="closed")

    def close() -> None:
        monkeypatch.setattr("ovis_app.training.finetune.carry_out.print", unheard, raising=False)
        for _ in range(2):
            signal.raise_signal(signal.SIGHUP)

    def unheard(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup` has it ignored, and so it stays ignored
    try:
        with monkeypatch.context() as patch:
            behind(patch, 1, close)
            assert cli.main(["finetune", *words]) == 130
        assert len(runs.losses(out)) == 2 and RunFolder(out).checkpoints()[-1][0] == 2
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("state", [None, pytest.param(b'{"epoch": 1.', marks=pytest.mark.long)])
def test_killed_while_saving_it_goes_on_from_the_last_whole_checkpoint(
    state: bytes | None, folder: Path, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    expected = whole("lora")
    out = folder / f"killed-{state}".replace('"', "")
    shutil.copytree(expected, out)
    shutil.rmtree(out / "adapter")
    (out / "checkpoint-6" / "optimizer.pt").write_bytes(b"half")
    file = out / "checkpoint-6" / STATE_FILE
    file.unlink() if state is None else file.write_bytes(state)
    with (out / "log.jsonl").open("a") as log:
        log.write('{"step": 6, "lo')
    assert RunFolder(out).newest() == out / "checkpoint-3"
    assert runs.run([*runs.words(folder, *MORE["lora"], out=out.name), "--resume"]) == 0
    assert runs.losses(out) == runs.losses(expected)
    assert (out / RESULT["lora"]).read_bytes() == (expected / RESULT["lora"]).read_bytes()


def test_killed_as_it_begins_the_same_command_begins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is begun with was half written then."""
    out, words = folder / "at-once", runs.words(folder, out="at-once")

    def begin(plan: Plan) -> None:
        with RunFolder(plan.out).taken(plan):
            pass

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            finetune.run(words, begin)
    assert [file.name for file in out.iterdir()] == [".run.json.partial"]
    assert finetune.run(words, begin) == 0
    assert [file.name for file in out.iterdir()] == ["run.json"]


@pytest.mark.long
def test_killed_before_anything_was_saved_it_begins_anew(folder: Path, whole: Callable[[str], Path]) -> None:
    expected, out = whole("lora"), folder / "early"
    out.mkdir()
    shutil.copy(expected / "run.json", out)
    assert runs.run([*runs.words(folder, *MORE["lora"], out="early"), "--resume"]) == 0
    assert runs.losses(out) == runs.losses(expected)


def test_a_run_that_is_done_may_be_written_down_again(folder: Path, whole: Callable[[str], Path]) -> None:
    out = folder / "done"
    shutil.copytree(whole("lora"), out)
    wanted = (out / RESULT["lora"]).read_bytes()
    shutil.rmtree(out / "adapter")
    assert runs.run([*runs.words(folder, *MORE["lora"], "--merge", out="done"), "--resume"]) == 0
    assert (out / RESULT["lora"]).read_bytes() == wanted and (out / "merged" / "config.json").is_file()


def test_a_full_disk_leaves_the_last_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder / "no-room"
    words = runs.words(folder, "--save-every", "1", "--epochs", "1", out="no-room")
    save = torch.save

    def failing(*given: Any, **more: Any) -> None:
        if (out / "checkpoint-3").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", failing)
        with pytest.raises(BackendError, match=r"disk is full.* step 3 .*--resume goes on from step 2\."):
            runs.run(words)
    assert [step for step, _ in RunFolder(out).checkpoints()] == [1, 2] and not (out / "checkpoint-3").exists()
    assert runs.run([*words, "--resume"]) == 0
    assert [step for step, _ in runs.losses(out)] == [1, 2, 3, 4]


def test_a_full_disk_is_known_by_what_each_library_says_of_it() -> None:
    told = (
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    )
    assert all(map(disk_is_full, told))
    assert not disk_is_full(OSError(errno.EACCES, "Permission denied")) and not disk_is_full(RuntimeError("shape"))
