"""What Ovis-mini learns and forgets: `python -m benchmarks.finetune`.

200 samples of a new skill (see benchmarks/skills.py) are learnt by `ovis finetune`, in a process of its own, once with its
defaults, without old questions mixed in, and with each share that is named. Then a hundred questions about fresh pictures
of the skill are asked, and a hundred of each kind that Ovis-mini knew before. Seconds are of the training itself, by the
clock and of the processor; of the processor they tell even where others work.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks import report, skills
from ovis_app import zoo
from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.checkpoints.load import load
from ovis_app.limits import Limits
from ovis_app.models.devices import few_threads
from ovis_app.training.finetune import answers
from ovis_app.training.finetune.answers import Asked
from ovis_app.training.finetune.dataset import Encoder
from ovis_app.training.finetune.entries import sources
from ovis_app.training.finetune.samples import read
from ovis_app.training.finetune.visuals import View

DEFAULT = "default"
BEGUN, ENDED = "parameters learn", "asking"  # in the lines around a training
TOGETHER = 40  # questions at once
NEW_GOAL, LOST_GOAL = 0.9, 0.1  # right answers of what is new, and of a kind that was known how many fewer

Shares = dict[str, float]  # right answers, by kind


@dataclass(frozen=True)
class Trained:
    """A training: seconds by the clock and of the processor."""

    adapter: Path
    seconds: float
    processor: float


@dataclass
class Exam:
    """Questions, as a model takes them, and what it says. `old` are of each kind that it knows."""

    checkpoint: Checkpoint
    new: dict[str, tuple[Asked, ...]]
    old: tuple[Asked, ...]

    @classmethod
    def of(cls, names: Sequence[str], questions: int, folder: Path) -> Exam:
        spec = zoo.resolve("ovis-mini")
        checkpoint = Checkpoint.read(zoo.MINI_FOLDER, spec.name)
        encoder = Encoder(checkpoint.tokenizer.prompts, View(spec, checkpoint.config, Limits()))
        new = {}
        for name in names:
            file = skills.written(name, questions, folder / f"asked-{name}", seed="asked")
            samples = read(sources(file), Limits(), note=_unsaid).usable(skip_bad=False)
            new[name] = tuple(answers.of_samples(samples, encoder))
        return cls(checkpoint, new, tuple(answers.of_mini(checkpoint, questions)))

    def shares(self, adapter: Path | None, skill: str) -> tuple[float, Shares]:
        """Right answers of a skill's questions, and of each old kind."""
        model = load(zoo.MINI_FOLDER, adapter=adapter)
        asked = (*self.new[skill], *self.old)
        with few_threads(model.llm):
            said = answers.answers(model, self.checkpoint, asked, together=TOGETHER)
        count = len(self.new[skill])
        new = sum(one.judge(words) for one, words in zip(asked[:count], said[:count], strict=True)) / count
        old = answers.shares(self.old, said[count:])
        return new, {kind: good / of for kind, (good, of) in old.items()}


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

    def cells(self) -> tuple[str, ...]:
        worst = max(self.lost, key=lambda kind: self.lost[kind])
        mean = sum(self.old.values()) / len(self.old)
        over = sum(lost > LOST_GOAL + 1e-9 for lost in self.lost.values())
        return (
            self.skill, self.mix, f"{self.new:.0%}", f"{mean:.0%}", f"{worst}: {self.lost[worst] * 100:.0f}", str(over),
            f"{self.trained.seconds:.0f}", f"{self.trained.processor:.0f}",
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
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        exam = Exam.of(options.skills, options.questions, folder)
        for skill in options.skills:
            untaught, before = exam.shares(None, skill)
            print(f"{skill}: {untaught:.0%} untaught, old {sum(before.values()) / len(before):.1%}", flush=True)
            data = skills.written(skill, options.samples, folder / f"learnt-{skill}", seed="learnt")
            for mix in options.mixes:
                flags = [] if mix == DEFAULT else ["--mix", mix if mix == "none" else f"mini:{mix}"]
                flags += options.flags.split()
                say = print if options.lines else _unsaid
                found = trained(data, folder / f"out-{skill}-{mix}", flags, say)
                rows.append(Row(skill, mix, found, *exam.shares(found.adapter, skill), before))
                print(report.table(COLUMNS, [rows[-1].cells()]).splitlines()[-1], flush=True)
    print(f"\n{report.table(COLUMNS, [row.cells() for row in rows])}\n\n{kinds(rows)}")
    details = {"rows": [{"skill": row.skill, "mix": row.mix, "new": row.new, "old": row.old, "before": row.before,
                         "seconds": row.trained.seconds, "processor": row.trained.processor} for row in rows]}  # fmt: skip
    report.finish(options, "finetune", [], details=details)


if __name__ == "__main__":
    main()
