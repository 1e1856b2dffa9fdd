"""Ctrl-C and whatever else ends a process while a model learns: what it has learnt is saved, then it ends. Of a step
that takes several batches the rest is dropped: the run that goes on does it from its beginning.

Knows signals, and what a Trainer asks of a callback. A second signal ends the process at once; behind a SIGTERM it ends
in a few seconds whatever it is at (`endings`), and what was saved last is the last checkpoint.
"""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

import numpy
import torch
from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ovis_app import endings

HANG_UP = getattr(signal, "SIGHUP", 0)  # Windows has none
SAVING = "stopping: what is learnt is saved first; once more ends it at once"
SHORT = f"stopping: what is learnt is saved first, as far as that takes less than {endings.END_SECONDS:.0f} seconds"


@dataclass(frozen=True)
class Draws:
    """Where all that draws is: Python's, numpy's and torch's randomness."""

    python: Any
    numpy: Any
    here: torch.Tensor
    gpu: torch.Tensor | None

    @classmethod
    def now(cls) -> Draws:
        gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return cls(random.getstate(), numpy.random.get_state(), torch.get_rng_state(), gpu)

    def again(self) -> None:
        """What was drawn since will be drawn once more."""
        random.setstate(self.python)
        numpy.random.set_state(self.numpy)
        torch.set_rng_state(self.here)
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu)


class Interruption(TrainerCallback):
    """Hears signals while it is entered. `asked` says that there was one, here or in a process that trains along."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.asked, self._say = False, say
        self._before: dict[signal.Signals, Any] = {}
        self._saved, self._draws = 0, Draws.now()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # others hear no signals
            self._before = {one: signal.signal(one, self._hear) for one in endings.signals()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._saved = state.global_step

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self._saved = state.global_step

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self._draws = Draws.now()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Drops the step that has begun, where somebody was asked to end and learns alone."""
        if self.asked and args.world_size == 1:
            if state.global_step > self._saved:
                self._draws.again()  # the checkpoint is as it would have been before this step
                control.should_save = True
            control.should_training_stop = True
        return control

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
        """Says it. Once it is asked there may be nobody who reads: a terminal that is closed ends what runs in it, and
        into a line that waits to be read Python writes no other."""
        try:
            self._say(line)
        except (OSError, RuntimeError):
            if not self.asked:
                raise

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._give_back(but=number if number == HANG_UP else 0)
        self.say(SHORT if number == signal.SIGTERM else SAVING)

    def _give_back(self, *, but: int = 0) -> None:
        """Who heard signals before hears them again, `but` for one: a shell hands on what its terminal has said."""
        for one in [one for one in self._before if one != but]:
            signal.signal(one, self._before.pop(one))
        if but:
            signal.signal(but, signal.SIG_IGN)
