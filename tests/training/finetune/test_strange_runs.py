"""Runs that somebody else sent, to go on with: nothing in them is run, nothing is written elsewhere, and what is
damaged is a sentence that says from where it goes on."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ovis_app.cli.common import BadInput
from ovis_app.errors import BackendError
from ovis_app.training.finetune.run_folder import STATE_FILE
from tests.training.finetune import runs

pytest.importorskip("peft", reason="peft isn't installed: pip install '.[finetune]'")

WEIGHTS, LAST = "adapter_model.safetensors", "checkpoint-3"
MORE = ("--save-every", "1", "--epochs", "1")
Change = Callable[[Path], Any]  # of a checkpoint


class Payload:
    """What runs where its pickle is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with samples, and with a run that was ended before its last step."""
    path = tmp_path_factory.mktemp("samples")
    runs.samples(path)
    assert runs.run(runs.words(path, *MORE, out="begun")) == 0
    shutil.rmtree(path / "begun" / "checkpoint-4")
    shutil.rmtree(path / "begun" / "adapter")
    first = path / "begun" / "checkpoint-2"
    shutil.copytree(path / "begun" / LAST, first)
    edit(first / STATE_FILE, global_step=2)
    return path


@pytest.fixture
def out(folder: Path) -> Path:
    """The same run, to be changed."""
    shutil.rmtree(folder / "sent", ignore_errors=True)
    return Path(shutil.copytree(folder / "begun", folder / "sent"))


def goes_on(out: Path) -> int:
    return runs.run([*runs.words(out.parent, *MORE, out=out.name), "--resume"])


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def halve(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize(
    "name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "pytorch_model.bin", "optimizer.bin"]
)
def test_a_planted_pickle_is_a_sentence_and_runs_nothing(name: str, out: Path, tmp_path: Path) -> None:
    (out / LAST / name).write_bytes(pickle.dumps(Payload(tmp_path / "mark"), protocol=2))
    with pytest.raises(BackendError, match=rf"^{LAST} in sent (is damaged, or not of|holds {name}, which)"):
        goes_on(out)
    assert not (tmp_path / "mark").exists()


def test_what_training_never_reads_is_not_read(out: Path, tmp_path: Path) -> None:
    (out / LAST / "training_args.bin").write_bytes(pickle.dumps(Payload(tmp_path / "mark"), protocol=2))
    assert goes_on(out) == 0 and not (tmp_path / "mark").exists()
    assert [step for step, _ in runs.losses(out)] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["other", ".other"])
def test_another_adapters_folder_imports_nothing(
    name: str, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "megatron"  # the only name that peft imports
    package.mkdir()
    (package / "__init__.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    other = out / LAST / name
    other.mkdir()
    config = json.loads((out / LAST / "adapter_config.json").read_text())
    config |= {
        "megatron_core": "megatron_named_by_a_config",
        "megatron_config": {"a": 1},
        "target_modules": ["lm_head"],
    }
    (other / "adapter_config.json").write_text(json.dumps(config))
    shutil.copy(out / LAST / WEIGHTS, other)
    told = rf"^{LAST} in sent holds {re.escape(name)}, which training doesn't write: move that"
    with pytest.raises(BackendError, match=told):
        goes_on(out)
    assert not (tmp_path / "mark").exists()


def of_another_model(checkpoint: Path) -> None:
    save_file({f"{name}s": value for name, value in load_file(checkpoint / WEIGHTS).items()}, checkpoint / WEIGHTS)


def of_a_base(checkpoint: Path) -> None:
    more = {"base_model.model.llm.model.norm.weight": torch.zeros(64)}
    save_file({**load_file(checkpoint / WEIGHTS), **more}, checkpoint / WEIGHTS)


def of_no_size(checkpoint: Path) -> None:
    """What takes a terabyte once it is written to."""
    held = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    held["state"][0]["exp_avg"] = torch.zeros(1).expand(2**38)
    torch.save(held, checkpoint / "optimizer.pt")


DAMAGES: dict[str, Change] = {
    "size": of_no_size,
    "optimizer": lambda checkpoint: halve(checkpoint / "optimizer.pt"),
    "chance": lambda checkpoint: halve(checkpoint / "rng_state.pth"),
    "weights": lambda checkpoint: halve(checkpoint / WEIGHTS),
    "header": lambda checkpoint: (checkpoint / WEIGHTS).write_bytes((2**62).to_bytes(8, "little") + b"{}"),
    "none": lambda checkpoint: (checkpoint / WEIGHTS).unlink(),
    "names": of_another_model,
    "more": of_a_base,
    "later": lambda checkpoint: edit(checkpoint / STATE_FILE, global_step=10**18),
    "words": lambda checkpoint: edit(checkpoint / STATE_FILE, save_steps="x"),
    "unknown": lambda checkpoint: edit(checkpoint / STATE_FILE, surprise=1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_says_from_where_it_goes_on(damage: str, out: Path) -> None:
    DAMAGES[damage](out / LAST)
    told = (
        rf"^{LAST} in sent is damaged, or not of this run: remove that folder, and the same .* goes on from step 2\.$"
    )
    with pytest.raises(BackendError, match=told):
        goes_on(out)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no links for everybody there")
def test_nothing_is_written_through_a_link(out: Path, tmp_path: Path) -> None:
    (tmp_path / "own").write_text("mine")
    for name in ("log.jsonl", ".log.jsonl.partial", ".loss.png.partial", "checkpoint-4"):
        shutil.move(out / name, tmp_path / "before") if (out / name).exists() else None
        (out / name).symlink_to(tmp_path / "own")
        with pytest.raises(BadInput, match=f"^sent holds {name}, which is a link or no plain file"):
            goes_on(out)
        (out / name).unlink()
        shutil.move(tmp_path / "before", out / name) if (tmp_path / "before").exists() else None
    assert (tmp_path / "own").read_text() == "mine"


def test_a_log_that_makes_no_sense_is_no_obstacle(out: Path) -> None:
    lines = [{"step": 0, "before": 5}, {"step": 1, "loss": "x"}, {"step": 10**30}, {"step": 2, "loss": float("inf")}]
    (out / "log.jsonl").write_bytes(
        b"\xff\n" + b"[" * 100_000 + b"\n" + "\n".join(map(json.dumps, lines)).encode() + b"\n"
    )
    assert goes_on(out) == 0 and (out / "adapter" / WEIGHTS).is_file() and (out / "loss.png").is_file()
