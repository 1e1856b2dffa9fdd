"""What Ovis-mini learns and forgets: `python -m benchmarks.finetune`.

200 samples of a new skill (see benchmarks/skills.py) are learnt by `ovis finetune`, in a process of its own: with its
defaults, without old questions mixed in, and with each share that is named. Then a hundred questions about fresh
pictures of the skill are asked, and a hundred of each kind that Ovis-mini knew before. Seconds are of the training
itself, by the clock and of the processor, which tell even where others work.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import psutil

from benchmarks import report, skills
from ovis_app import zoo
from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.checkpoints.load import load
from ovis_app.limits import Limits
from ovis_app.models.devices import few_threads
from ovis_app.training.finetune import answers
from ovis_app.training.finetune.dataset import Encoder
from ovis_app.training.finetune.entries import sources
from ovis_app.training.finetune.samples import read
from ovis_app.training.finetune.visuals import View
from ovis_app.training.mini.evaluate import KINDS

DEFAULT = "default"
BEGUN, ENDED = "parameters learn", "asking"  # in the lines around a training
TOGETHER = 40  # questions at once
LOST = 0.1  # of a kind's right answers, at most: what is wanted

Shares = dict[str, float]  # right answers, by kind


@dataclass(frozen=True)
class Trained:
    """A training: seconds by the clock and of the processor."""

    adapter: Path
    seconds: float
    processor: float


@dataclass(frozen=True)
class Part:
    """Questions that are asked in one go: of an old kind, or, with the file that has them, of a skill."""

    name: str
    number: int
    file: Path | None = None


def right(part: Part, adapter: Path | None) -> float:
    """The share of a part's questions that are answered right, in whatever process this is called."""
    spec = zoo.resolve("ovis-mini")
    checkpoint = Checkpoint.read(zoo.MINI_FOLDER, spec.name)
    if part.file is None:
        asked = list(answers.of_mini(checkpoint, part.number, kinds=[part.name]))
    else:
        encoder = Encoder(checkpoint.tokenizer.prompts, View(spec, checkpoint.config, Limits()))
        samples = read(sources(part.file), Limits(), note=_unsaid).usable(skip_bad=False)
        asked = list(answers.of_samples(samples, encoder))
    model = load(zoo.MINI_FOLDER, adapter=adapter)
    with few_threads(model.llm):
        said = answers.answers(model, checkpoint, asked, together=TOGETHER)
    return sum(one.judge(words) for one, words in zip(asked, said, strict=True)) / len(asked)


def shares(parts: Sequence[Part], adapter: Path | None) -> Shares:
    """The same for several parts, in as many processes as there are cores."""
    cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores or 1, mp_context=get_context("spawn")) as pool:
        found = pool.map(right, parts, [adapter] * len(parts))
        return dict(zip([part.name for part in parts], found, strict=True))


@dataclass(frozen=True)
class Row:
    """What one way of mixing brought."""

    skill: str
    mix: str
    trained: Trained
    new: float
    old: Shares
    before: Shares = field(repr=False)

    @property
    def lost(self) -> Shares:
        return {kind: self.before[kind] - share for kind, share in self.old.items()}

    def as_dict(self) -> dict[str, Any]:
        times = {"seconds": self.trained.seconds, "processor": self.trained.processor}
        return {"skill": self.skill, "mix": self.mix, "new": self.new, "old": self.old, "before": self.before, **times}

    def cells(self) -> tuple[str, ...]:
        worst = max(self.lost, key=lambda kind: self.lost[kind])
        over = sum(lost > LOST + 1e-9 for lost in self.lost.values())
        return (
            self.skill, self.mix, f"{self.new:.0%}", f"{mean(self.old.values()):.0%}",
            f"{worst}: {self.lost[worst] * 100:.0f}", str(over), f"{self.trained.seconds:.0f}",
            f"{self.trained.processor:.0f}",
        )  # fmt: skip


COLUMNS = ("skill", "share of old samples", "new", "old", "most lost, points", "kinds that lost more than 10",
           "seconds", "of the processor")  # fmt: skip


def trained(data: Path, out: Path, flags: Sequence[str], say: Callable[[str], None]) -> Trained:
    """Fine-tunes as people do, and hears when the training itself begins and ends. Raises RuntimeError."""
    command = [sys.executable, "-W", "ignore", "-m", "ovis_app", "finetune", str(data), "--out", str(out), *flags]
    began, ended = (0.0, 0.0), (0.0, 0.0)
    with subprocess.Popen(command, cwd=report.ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            say(line.rstrip())
            if BEGUN in line:
                began = _spent(process.pid)
            elif line.startswith(ENDED) and began[0]:
                ended = _spent(process.pid)
    if process.returncode or not ended[0]:
        raise RuntimeError(f"`ovis finetune` ended with {process.returncode}")
    return Trained(out / "adapter", ended[0] - began[0], ended[1] - began[1])


def _spent(pid: int) -> tuple[float, float]:
    """Seconds by the clock and of a process and its threads."""
    times = psutil.Process(pid).cpu_times()
    return time.perf_counter(), times.user + times.system


def kinds(rows: Sequence[Row]) -> str:
    """The share right of every old kind, before and behind each training."""
    columns = ("old kind", "before", *(f"{row.skill}, {row.mix}" for row in rows))
    lines = [
        (kind, f"{before:.0%}", *(f"{row.old[kind]:.0%}" for row in rows)) for kind, before in rows[0].before.items()
    ]
    return report.table(columns, lines)


def _unsaid(words: str) -> None:
    """Nobody waits for it."""


def main() -> None:
    parser = report.arguments(__doc__, repeats=1)
    parser.add_argument("--skills", nargs="+", choices=skills.SKILLS, default=["shapes"])
    parser.add_argument("--mixes", nargs="+", default=[DEFAULT, "none"], help="default, none, or shares as 0.15")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--questions", type=int, default=100, help="of the skill, and of each old kind")
    parser.add_argument("--lines", action="store_true", help="show what the command says")
    parser.add_argument("--flags", default="", help="more flags of `ovis finetune`, in one text")
    options = parser.parse_args()
    rows: list[Row] = []
    old = [Part(kind, options.questions) for kind in KINDS]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        before = shares(old, None)
        print(f"untaught: {mean(before.values()):.0%} of the old questions", flush=True)
        for skill in options.skills:
            asked = skills.written(skill, options.questions, folder / f"asked-{skill}", seed="asked")
            new = Part(skill, options.questions, asked)
            data = skills.written(skill, options.samples, folder / f"learnt-{skill}", seed="learnt")
            for mix in options.mixes:
                flags = [] if mix == DEFAULT else ["--mix", mix if mix == "none" else f"mini:{mix}"]
                flags += options.flags.split()
                say = print if options.lines else _unsaid
                found = trained(data, folder / f"out-{skill}-{mix}", flags, say)
                after = shares([new, *old], found.adapter)
                rows.append(Row(skill, mix, found, after.pop(skill), after, before))
                print(report.table(COLUMNS, [rows[-1].cells()]).splitlines()[-1], flush=True)
    print(f"\n{report.table(COLUMNS, [row.cells() for row in rows])}\n\n{kinds(rows)}")
    report.finish(options, "finetune", [], details={"rows": [row.as_dict() for row in rows]})


if __name__ == "__main__":
    main()
