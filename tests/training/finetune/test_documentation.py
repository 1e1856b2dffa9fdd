"""docs/finetuning.md is true: its example runs as it is written, and its flags are those of the command."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ovis_app.cli import finetune
from ovis_app.training.finetune.choices import PARTS, choices_of, defaults
from ovis_app.zoo import MINI, resolve

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "finetuning.md").read_text(encoding="utf-8")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]+")


def test_its_flags_are_those_of_the_command() -> None:
    known = set(FLAG.findall(finetune.parser().format_help()))
    elsewhere = {"--adapter", "--image", "--multi_gpu", "--num_processes", "--nproc_per_node", "--cpu"}
    assert set(FLAG.findall(TEXT)) - elsewhere <= known


def test_its_table_has_the_defaults() -> None:
    rows = {cells[0]: cells[1:] for cells in re.findall(r"^\| `(--\S+?)`.*?\| (.*?) \| (.*?) \|$", TEXT, re.MULTILINE)}
    lora, full, mini = defaults(resolve("Ovis2.5-2B"), "lora"), defaults(resolve("Ovis2.5-2B"), "full"), choices_of(
        MINI, "lora", {})  # fmt: skip
    assert rows["--train"][0] == f"`{lora['train']}`; Ovis-mini: `all`" and mini.part_names == PARTS
    assert rows["--rank"][0].endswith(f"{lora['dropout']}; Ovis-mini: {mini.rank}, {mini.alpha}, {mini.dropout:g}")
    assert [float(number) for number in re.findall(r"[\d.]+e-\d", " ".join(rows["--lr"]))] == [
        lora["lr"], mini.parts[0][1], full["lr"]]  # fmt: skip
    assert rows["--epochs"] == (f"{lora['epochs']:g}; Ovis-mini: {mini.epochs:g}", f"{full['epochs']:g}")
    assert rows["--max-tokens"][0].startswith(str(lora["max_tokens"]))


@pytest.mark.long
def test_its_example_runs_as_it_is_written(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="peft isn't installed: pip install '.[finetune]'")
    (script,), (commands,) = (re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL) for kind in ("python", "sh"))
    (tmp_path / "draw.py").write_text(f"import random\nrandom.seed(1)\n{script}", encoding="utf-8")
    about = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "draw.py"], cwd=tmp_path, check=True)
    said = []
    for line in commands.strip().splitlines():
        words = shlex.split(line)
        assert words[0] == "ovis"
        done = subprocess.run(
            [sys.executable, "-m", "ovis_app", *words[1:]], cwd=tmp_path, env=about, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert "memory: about" in said[0] and "old questions: " in said[1] and said[2].strip() == "It is a ring."
    assert (tmp_path / "runs" / "shapes" / "loss.png").is_file()
