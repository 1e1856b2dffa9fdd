"""Ctrl-C and whatever else ends a process while a model learns: the step that runs is finished and saved, then it ends.

Knows signals, and what a Trainer asks of a callback. A second signal ends the process at once.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ovis_app import endings


class Interruption(TrainerCallback):
    """Hears signals while it is entered. `asked` says that there was one, here or in a process that trains along."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.asked, self._say = False, say
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # others hear no signals
            self._before = {one: signal.signal(one, self._hear) for one in endings.signals()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Ends the training behind this step, saved, where anybody was asked to."""
        if distributed.is_available() and distributed.is_initialized():  # all must end at the same step
            anybody = torch.tensor([int(self.asked)], device=args.device)
            distributed.all_reduce(anybody, distributed.ReduceOp.MAX)
            self.asked = bool(anybody.item())
        if self.asked:
            control.should_save = control.should_training_stop = True
        return control

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._give_back()
        self._say("stopping: this step is finished and saved first; once more ends it at once")
        sys.stdout.flush()

    def _give_back(self) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)
        self._before = {}
