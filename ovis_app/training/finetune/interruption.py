"""Ctrl-C and whatever else ends a process while a model learns: the step that runs is finished and saved, then it ends.

Knows signals, and what a Trainer asks of a callback. A second signal ends the process at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ovis_app import endings

HANG_UP = getattr(signal, "SIGHUP", 0)  # Windows has none


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

    def say(self, line: str) -> None:
        """Says it. Once it is asked there may be nobody who reads: a terminal that is closed ends what runs in it."""
        try:
            self._say(line)
        except OSError:
            if not self.asked:
                raise

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._give_back(but=number if number == HANG_UP else 0)
        self.say("stopping: this step is finished and saved first; once more ends it at once")

    def _give_back(self, *, but: int = 0) -> None:
        """Who heard signals before hears them again, `but` for one: a shell hands on what its terminal has said."""
        for one in [one for one in self._before if one != but]:
            signal.signal(one, self._before.pop(one))
        if but:
            signal.signal(but, signal.SIG_IGN)
