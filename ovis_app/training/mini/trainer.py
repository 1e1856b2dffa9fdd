"""One training run in a folder: how far it is, the learning rate, checkpoints to resume from, and a log.

Knows stages by name and number of steps, never by time: a run beside other work takes longer and learns as much.
Refuses to know what a step computes.
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
CHECKPOINT_SECONDS = 120  # between two checkpoints of a stage
STILL = 1e-5  # gradients of a vocabulary row below this hardly move it: else all that never occur go the same way
PLATEAU = 0.3  # share of a stage at the full learning rate
LAST = 0.03  # share of the learning rate at the end of a stage


def rank() -> int:
    """Which of the training processes this is; 0 writes the log and the checkpoints."""
    return dist.get_rank() if dist.is_initialized() else 0


class Run:
    """A folder with `plan.json` (steps per stage, read when a stage begins or goes on), `log.txt` and one resumable
    checkpoint per stage."""

    def __init__(self, folder: Path, plan: dict[str, int]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.plan_file = folder / "plan.json"
        if not self.plan_file.exists():
            self.plan_file.write_text(json.dumps(plan, indent=1))
        self.sums: dict[str, list[float]] = defaultdict(list)

    def steps(self, stage: str) -> int:
        return int(json.loads(self.plan_file.read_text()).get(stage, 0))

    def state_file(self, stage: str) -> Path:
        return self.folder / f"{stage}.pt"

    def state(self, stage: str) -> dict[str, Any] | None:
        """The stage's checkpoint, None where it hasn't begun."""
        file = self.state_file(stage)
        return torch.load(file, weights_only=True) if file.exists() else None

    def save(self, stage: str, state: dict[str, Any]) -> None:
        """Writes the stage's checkpoint, whole or not at all."""
        partial = Path(f"{self.state_file(stage)}.partial")
        torch.save(state, partial)
        partial.replace(self.state_file(stage))

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


class Meter:
    """The processor seconds of one stage in this process, and when its checkpoint is due. Seconds of earlier sessions
    count."""

    def __init__(self, spent: float = 0.0) -> None:
        self.spent, self.started, self.saved = spent, time.process_time(), time.monotonic()

    @property
    def seconds(self) -> float:
        return self.spent + time.process_time() - self.started

    def due(self) -> bool:
        """Whether so much time has passed since the last checkpoint that losing it would hurt."""
        if time.monotonic() - self.saved < CHECKPOINT_SECONDS:
            return False
        self.saved = time.monotonic()
        return True


def rate(step: int, progress: float) -> float:
    """Warm-up, a plateau, then a cosine to the stage's end."""
    falling = max(progress - PLATEAU, 0.0) / (1 - PLATEAU)
    cosine = LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * falling))
    return min(1.0, (step + 1) / WARM_UP) * cosine


class Optimizer:
    """Muon for the matrices inside the blocks, AdamW for all else; both follow one rate."""

    def __init__(self, named: Iterable[tuple[str, Tensor]], *, adam: float, muon: float) -> None:
        named = [(name, p) for name, p in named if p.requires_grad]
        matrices = [p for name, p in named if p.ndim == 2 and ".layers." in name]
        inner = {id(p) for p in matrices}
        rest = [p for _, p in named if id(p) not in inner]
        self.parameters = [p for _, p in named]
        words = [p for name, p in named if name.endswith("embed_tokens.weight")]
        kept = {id(p) for p in words}
        rest = [p for p in rest if id(p) not in kept]
        groups: list[dict[str, Any]] = [{"params": rest}, {"params": words, "eps": STILL}]
        self.parts: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.AdamW(groups, lr=adam, betas=(0.9, 0.98), weight_decay=0.01), adam)
        ]
        if matrices:
            inner_optimizer = torch.optim.Muon(matrices, lr=muon, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
            self.parts.append((inner_optimizer, muon))

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
