"""One training run in a folder: the clock, the learning rate, checkpoints to resume from, and a log.

Knows stages by name and minutes. Refuses to know what a step computes.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

WARM_UP = 60  # steps
LAST = 0.03  # share of the learning rate at the end of a stage


def rank() -> int:
    """Which of the training processes this is; 0 writes the log and the checkpoints."""
    return dist.get_rank() if dist.is_initialized() else 0


def agree(value: float) -> float:
    """The largest value of all training processes, so that they end a stage at the same step."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor(value)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return shared.item()


class Run:
    """A folder with `plan.json` (minutes per stage, read again while training, so a stage can be cut or extended),
    `log.txt` and one resumable checkpoint per stage."""

    def __init__(self, folder: Path, plan: dict[str, float]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.plan_file = folder / "plan.json"
        if not self.plan_file.exists():
            self.plan_file.write_text(json.dumps(plan, indent=1))
        self.muon = 4e-3  # learning rate of the matrices inside blocks; 0: AdamW for them too
        self.sums: dict[str, list[float]] = defaultdict(list)

    def minutes(self, stage: str) -> float:
        return float(json.loads(self.plan_file.read_text()).get(stage, 0))

    def state_file(self, stage: str) -> Path:
        return self.folder / f"{stage}.pt"

    def log(self, text: str) -> None:
        if rank():
            return
        line = f"{time.strftime('%H:%M:%S')} {text}"
        print(line, flush=True)
        with (self.folder / "log.txt").open("a") as file:
            file.write(line + "\n")

    def note(self, **values: float) -> None:
        for name, value in values.items():
            if value == value:  # an accuracy of nothing is NaN
                self.sums[name].append(value)

    def report(self, head: str) -> None:
        self.log(head + " " + " ".join(f"{k} {sum(v) / len(v):.3f}" for k, v in self.sums.items()))
        self.sums.clear()


class Clock:
    """The minutes of one stage: how far it is, and whether it ends. Time spent in earlier sessions counts."""

    def __init__(self, run: Run, stage: str, spent: float = 0.0) -> None:
        self.run, self.stage, self.spent, self.started = run, stage, spent, time.monotonic()
        self.budget = run.minutes(stage) * 60

    @property
    def seconds(self) -> float:
        return self.spent + time.monotonic() - self.started

    def progress(self) -> float:
        return min(agree(self.seconds / max(self.budget, 1e-9)), 1.0)

    def reread(self) -> None:
        self.budget = self.run.minutes(self.stage) * 60


def rate(step: int, progress: float) -> float:
    """Warm-up by steps, then a cosine over the stage's time."""
    cosine = LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * progress))
    return min(1.0, (step + 1) / WARM_UP) * cosine


class Optimizer:
    """Muon for the matrices inside the blocks, AdamW for all else; both follow one rate."""

    def __init__(self, named: Iterable[tuple[str, Tensor]], *, adam: float, muon: float) -> None:
        named = [(name, p) for name, p in named if p.requires_grad]
        matrices = [p for name, p in named if p.ndim == 2 and ".layers." in name]
        inner = {id(p) for p in matrices}
        rest = [p for _, p in named if id(p) not in inner]
        self.parameters = [p for _, p in named]
        self.parts: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.AdamW(rest, lr=adam, betas=(0.9, 0.98), weight_decay=0.01), adam)
        ]
        if matrices and muon:
            inner_optimizer = torch.optim.Muon(matrices, lr=muon, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
            self.parts.append((inner_optimizer, muon))
        elif matrices:
            self.parts.append((torch.optim.AdamW(matrices, lr=adam, betas=(0.9, 0.98), weight_decay=0.01), adam))

    def begin(self, share: float) -> None:
        """Clears the gradients and sets the rate."""
        for optimizer, peak in self.parts:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = peak * share

    def apply(self) -> None:
        """Averages the gradients of all processes and takes one step."""
        if dist.is_initialized():
            gradients = [p.grad for p in self.parameters if p.grad is not None]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            flat /= dist.get_world_size()
            for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer, _ in self.parts:
            optimizer.step()

    def state(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer, _ in self.parts]

    def load(self, states: list[dict[str, Any]]) -> None:
        for (optimizer, _), state in zip(self.parts, states, strict=True):
            optimizer.load_state_dict(state)
