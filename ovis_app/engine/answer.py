"""One request's answer under way: what decides its next token, who hears it, when it is over.

Knows settings, budgets and streamers; refuses to know steps, blocks and other requests.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ovis_app.conversation import Shortage
from ovis_app.engine.lookup import Lookup
from ovis_app.engine.sampling import Choice, Draw
from ovis_app.engine.sequence import Sequence
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.errors import FAILED, BackendError
from ovis_app.generation import GenerationSettings
from ovis_app.request_id import NO_ID, RequestId

log = logging.getLogger(__name__)

NO_MEMORY = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")  # in errors of mps, of CPUs, of cuBLAS


class EncodedPrompt(Protocol):
    """A prompt whose media are encoded: ids and mask [tokens], `keys` with visual tokens named by content, and the
    visual tokens' embeddings [visual tokens, hidden]. The last `begun` tokens are the answer's own, which goes on."""

    @property
    def ids(self) -> Tensor: ...
    @property
    def mask(self) -> Tensor: ...
    @property
    def keys(self) -> tuple[int, ...]: ...
    @property
    def visual(self) -> Tensor | None: ...
    @property
    def begun(self) -> int: ...


class Streamer(Protocol):
    """What hears an answer: new ids [tokens] as they come, then its end. A `TokenStreamer` is one."""

    def put(self, value: Tensor) -> None: ...
    def end(self) -> None: ...


class RunningAnswer:
    """One request's answer under way."""

    def __init__(
        self, sequence: Sequence, settings: GenerationSettings, budget: ThinkingBudget | None,
        streamer: Streamer | None, stop: Callable[[], bool], progress: Callable[[float], None],
        request_id: RequestId = NO_ID,
    ) -> None:  # fmt: skip
        self.sequence, self.settings, self.budget = sequence, settings, budget
        self.streamer, self.stop, self.request_id = streamer, stop, request_id
        self._progress, self._reading = progress, True
        self.draw = Draw.of(settings)
        self.lookup: Lookup | None = None
        self.shortage: Shortage | None = None  # of memory, in steps that it was a part of
        self.error: BaseException | None = None
        self._unheard: list[int] = []
        self._over = threading.Event()

    @property
    def ids(self) -> Tensor:
        """What was answered so far, [tokens]."""
        return torch.tensor(self.sequence.generated[self.sequence.begun :], dtype=torch.long)

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def wait(self) -> Tensor:
        """The whole answer, [tokens]. Raises BackendError, or torch.OutOfMemoryError where that was the end of it."""
        self._over.wait()
        if self.error is not None:
            raise self.error
        return self.ids

    # --- the engine's side -------------------------------------------------------------------------------------------

    def report(self) -> None:
        """A step of it comes: says how much of its prompt is computed, until all of it is."""
        if self._reading:
            self._reading = self.sequence.pending > 1
            self._progress(min(self.sequence.computed / self.sequence.prompt_length, 1.0))

    def ran_out(self, piece: int | None = None) -> None:
        """Memory ran out for a step of it: it is tried again, its prompt in pieces of so many tokens."""
        before = Shortage() if self.shortage is None else self.shortage
        self.shortage = before if piece is None else replace(before, piece=piece)

    def guess(self, most: int) -> None:
        """Writes down what may follow, for the next step to verify."""
        if self.lookup is not None and self.sequence.pending == 1:
            left = self.settings.max_new_tokens - self.sequence.new - 1
            self.sequence.drafts = self.lookup.guess(min(most, left)) if left > 0 else []

    def choices(self, drafts: SequenceOf[int]) -> list[Choice]:
        """What decides the next token, and the one behind each draft if all drafts up to it come true."""
        generated, penalty = self.sequence.generated, self.settings.repetition_penalty
        if self.budget is not None:
            self.budget.settle(len(generated))
        found = []
        for number in range(len(drafts) + 1):
            said = [*generated, *drafts[:number]] if number else generated
            forced = None if self.budget is None else self.budget.forced(said)
            found.append(Choice(self.draw, said, penalty, forced))
        return found

    def take(self, token: int, eos: SequenceOf[int]) -> bool:
        """One token more; whether the answer is over with it. A forced text is finished, even past the limit."""
        self.sequence.append(token)
        self._unheard.append(token)
        if token in eos:
            return True
        if self.sequence.new < self.settings.max_new_tokens:
            return False
        return self.budget is None or self.budget.forced(self.sequence.generated) is None

    def deliver(self) -> None:
        """Puts what was taken into the streamer. Raises what it raises, and puts nothing into it any more then."""
        unheard, self._unheard = self._unheard, []
        if unheard and self.streamer is not None:
            reader, self.streamer = self.streamer, None
            reader.put(torch.tensor(unheard))
            self.streamer = reader

    def end(self, error: BaseException | None = None) -> None:
        self.error = error
        if self.streamer is not None:
            try:
                self.deliver()
                if error is None:
                    self.streamer.end()
            except Exception as failure:  # the reader's own; nobody else is to suffer from it
                log.exception("an answer's last characters failed (request %s)", self.request_id)
                self.error = error or failed(failure)
        self._over.set()


def failed(error: BaseException) -> BackendError:
    """What a reader is told: never the error itself, whose traceback would keep tensors."""
    return error if isinstance(error, BackendError) else BackendError(FAILED)


def out_of_memory(error: BaseException) -> bool:
    """Whether there was no memory for a piece of work; torch names that only on some devices."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
