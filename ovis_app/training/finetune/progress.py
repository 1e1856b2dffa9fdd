"""What a training says of itself: a line a step with the time that is left, the same in a log, and the losses drawn.

Knows what a Trainer tells its callbacks. A loss that is no number ends the training, before it is saved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ovis_app.errors import BackendError
from ovis_app.training.finetune.loss_plot import draw
from ovis_app.training.finetune.run_folder import PLOT_FILE, RunFolder

NAN = (
    "The loss is no number any more at step {step}: learn more slowly with a lower --lr, or look at the longest sample "
    "({longest}), and begin anew with another --out."
)


class Progress(TrainerCallback):
    """Writes the log of a run. `longest` names the longest sample, which a loss without a number may come from."""

    def __init__(self, folder: RunFolder, say: Callable[[str], None], longest: str, *, writes: bool) -> None:
        self._folder, self._say, self._longest, self._writes = folder, say, longest, writes
        self._began, self._first, self._last = time.monotonic(), 0, time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._began = self._last = time.monotonic()
        self._first = state.global_step

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        step, values = state.global_step, logs or {}
        if "loss" in values:
            if not math.isfinite(values["loss"]):
                raise BackendError(NAN.format(step=step, longest=self._longest))
            self._step(args, state, values)
        elif "eval_loss" in values:
            self._record({"step": step, "val_loss": values["eval_loss"]})
            self._say(f"step {step}/{state.max_steps}  loss of the samples to judge by {values['eval_loss']:.4f}")

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self.draw()

    def draw(self) -> None:
        """Draws all losses that were logged."""
        if self._writes:
            draw(self._folder.records(), self._folder.path / PLOT_FILE)

    def _step(self, args: TrainingArguments, state: TrainerState, values: dict[str, float]) -> None:
        now, step = time.monotonic(), state.global_step
        samples = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        speed = samples / max(now - self._last, 1e-6)
        left = (now - self._began) / max(step - self._first, 1) * (state.max_steps - step)
        memory, self._last = memory_peak(args.device), now
        self._record(
            {
                "step": step, "epoch": round(state.epoch or 0.0, 4), "loss": values["loss"],
                "learning_rate": values["learning_rate"], "grad_norm": values.get("grad_norm"),
                "samples_per_second": round(speed, 2), "memory": memory, "seconds_left": round(left),
            }
        )  # fmt: skip
        self._say(
            f"step {step}/{state.max_steps}  loss {values['loss']:.4f}  lr {values['learning_rate']:.2e}  "
            f"gradient {values.get('grad_norm', math.nan):.2f}  {speed:.1f} samples/s  {memory / 1e9:.2f} GB  "
            f"{clock(left)} left"
        )

    def _record(self, values: dict[str, Any]) -> None:
        if self._writes:
            self._folder.record(values)


def memory_peak(device: torch.device) -> int:
    """Bytes: the most that a GPU held, or what this process holds now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return int(psutil.Process().memory_info().rss)


def clock(seconds: float) -> str:
    """As 1:05, or 2:10:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
