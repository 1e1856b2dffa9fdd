"""Many requests at once on one model: what each needs of the others is computed together, step by step.

`generate` is called from a request's own thread and gives the tokens that solo gives. Knows prompts that were read, and
how an answer is cut into requests for the pages (a thought's budget is two); refuses to know conversations and files.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol

import torch
from torch import Tensor
from transformers.generation.continuous_batching.requests import GenerationOutput

from ovis_app.checkpoints.memory_fit import working_memory
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine.paged import means
from ovis_app.engine.pages import BROKEN, EngineFailed, Manager, Sizes, bytes_of_a_token, of_memory
from ovis_app.engine.sampling import COLD, MOST, Draw
from ovis_app.engine.slots import Prompt, Slots, twin
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.errors import BackendError
from ovis_app.generation import GenerationSettings
from ovis_app.models.ovis import Ovis

log = logging.getLogger(__name__)

HEARTBEAT = 0.05  # seconds between two questions whether a request is still wanted
Parts = Generator[list[int], None, None]  # new tokens as they come; closing it ends them
TRIAL = 8  # tokens that are read and that are said to see that all of it works
NO_ROOM = "There isn't enough memory for many requests at once: try again, or use --engine solo."
NOT_STARTED = "The engine for many requests at once can't start; the cause is in the server's log: use --engine solo."
CLOSED = "The model is being shut down: try again later."


class Streamer(Protocol):
    """What hears an answer: new ids [tokens] as they come, then its end. A `TokenStreamer` is one."""

    def put(self, value: Tensor) -> None: ...
    def end(self) -> None: ...


class BatchedEngine:
    """Answers many prompts at once with one Ovis, whose weights it shares and whose modules it leaves alone. From any
    thread. Starts its own thread and takes its memory at the first request, or in `warm`."""

    def __init__(self, model: Ovis, ending: Ending, sizes: Sizes | None = None) -> None:
        """Raises BackendError when this engine can't serve the model at all; `unfit` says so beforehand."""
        reason = unfit(model)
        if reason:
            raise BackendError(reason)
        self.ending = ending
        self.sizes = fitting(model) if sizes is None else sizes
        self._llm, embedding = twin(model.llm, self.sizes.slots + len(model.indicators))
        self.slots = Slots(embedding, model.indicators.detach())
        self._lock = threading.Lock()  # of starting and ending
        self._manager: Manager | None = None
        self._over: Callable[[], BackendError] | None = None  # why nothing is answered any more
        self._live = 0
        self._idle = threading.Condition()
        self._numbers = itertools.count()

    # --- what it can do ----------------------------------------------------------------------------------------------

    def refuses(self, prompt: Prompt, settings: GenerationSettings, budget: ThinkingBudget | None = None) -> str | None:
        """Why solo must answer this one, in one sentence; None when this engine can."""
        if settings.repetition_penalty != 1:
            return "A repetition penalty can't be used with many requests at once: set it to 1."
        if not bool(prompt.mask.all()):
            return "The prompt hides padding from attention, which can't be done with many requests at once."
        if self._llm.device.type == "cuda" and settings.temperature >= COLD and not 1 <= settings.top_k <= MOST:
            return f"With many requests at once top_k must be from 1 to {MOST:,}."
        tokens = len(prompt.ids) + max(room(settings, budget), 2)
        if tokens > self.sizes.tokens:
            return (
                f"The conversation and its answer may take {tokens:,} tokens and the memory for many requests holds "
                f"{self.sizes.tokens:,}: lower max new tokens or max pixels, or start a new chat."
            )
        visual = 0 if prompt.visual is None else len(prompt.visual)
        if visual > self.slots.capacity:
            return (
                f"The pictures take {visual:,} tokens and the memory for many requests holds {self.slots.capacity:,}: "
                "lower max pixels, attach less, or start a new chat."
            )
        return None

    # --- answering ---------------------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: Prompt,
        settings: GenerationSettings,
        *,
        budget: ThinkingBudget | None = None,
        streamer: Streamer | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Tensor:
        """New token ids [tokens], put into `streamer` as they come. Blocks until the answer ends or `stop()`, which is
        asked at least every 0.1 s and gives the request's pages back at once. Raises BackendError: EngineFailed where
        solo may answer yet."""
        settings = settings.check()
        reason = self.refuses(prompt, settings, budget)
        if reason:
            raise BackendError(reason)
        said: list[int] = []
        with self._admitted(prompt, stop) as ids:
            if ids is not None:
                with closing(self._answer(ids, settings, budget, stop)) as parts:
                    for part in parts:
                        said += part
                        if streamer is not None:
                            streamer.put(torch.tensor(part))
        if streamer is not None:
            streamer.end()
        return torch.tensor(said, dtype=torch.long)

    @contextmanager
    def _admitted(self, prompt: Prompt, stop: Callable[[], bool]) -> Iterator[list[int] | None]:
        """The prompt's ids once its pictures have room, until the answer is over; None when `stop()` came first."""
        with self._idle:
            while self.slots.spent and self._live:
                if stop():
                    break
                self._idle.wait(HEARTBEAT)
            else:
                if self.slots.spent:  # ids begin anew, and so must the pages that they name
                    self._end(self._manager)
                    self.slots.clear()
            self._live += 1
        held = None
        try:
            held = self.slots.hold(prompt, stop)
            yield None if held is None else held.ids
        finally:
            if held is not None:
                self.slots.release(held)
            with self._idle:
                self._live -= 1
                self._idle.notify_all()

    def _answer(
        self, ids: list[int], settings: GenerationSettings, budget: ThinkingBudget | None, stop: Callable[[], bool]
    ) -> Parts:
        """The answer in parts. A thought that reaches its budget is cancelled there, and goes on behind the forced text
        as a new request: all but the last page of what was computed is found again."""
        limit, draw = settings.max_new_tokens, Draw.of(settings)
        if budget is None:
            yield from self._tokens(ids, limit, draw, stop)
            return
        said: list[int] = []
        free = False  # the thought has ended before its budget
        with closing(self._tokens(ids, limit, draw, stop)) as parts:
            for part in parts:
                before = part[: max(budget.budget - len(said), 0)]
                free = free or budget.think_end in before
                said += part if free else before
                yield part if free else before
                if not free and len(said) == budget.budget:
                    break
        if free or len(said) != budget.budget or said[-1] in self.ending.eos or stop():
            return
        yield budget.early_stop
        said += budget.early_stop
        if len(said) < limit:
            yield from self._tokens(ids + said, limit - len(said), draw, stop)

    def _tokens(self, ids: list[int], most: int, draw: Draw, stop: Callable[[], bool]) -> Parts:
        """New tokens of one request as steps bring them. Closing it gives the request's pages back."""
        manager, name = self._started(), f"answer {next(self._numbers)}"
        box = manager.router.boxes[name] = SimpleQueue()
        asked = max(most, 2)  # the pages of a request that ends with its first token would not be remembered
        seen, ended = 0, False
        try:
            manager.add_request(
                ids, name, max_new_tokens=asked, streaming=True, eos_token_id=list(self.ending.eos), draw=draw
            )
            while not ended and seen < most and not stop():
                output = self._heard(manager, box)
                if output is not None:
                    new, ended = output.generated_tokens[seen:most], output.is_finished()
                    seen += len(new)
                    if new:
                        yield new
        finally:
            del manager.router.boxes[name]
            if not ended:
                manager.cancel_request(name)

    def _heard(self, manager: Manager, box: SimpleQueue[GenerationOutput | EngineFailed]) -> GenerationOutput | None:
        """What a step brought, or None after a heartbeat without. Raises BackendError once the manager has failed."""
        try:
            output = box.get(timeout=HEARTBEAT)
        except Empty:
            if manager.alive:
                return None
            self._end(manager)  # now its thread has told what it had to tell
            output = manager.router.failure() if box.empty() else box.get()
        if not isinstance(output, EngineFailed):
            return output
        self._end(manager)
        raise output if self._over is None else self._over()

    # --- starting and ending -----------------------------------------------------------------------------------------

    def warm(self) -> None:
        """Takes the memory, on a GPU captures the graphs, and answers something, before the first request. Raises
        EngineFailed where that can't be done; the engine is closed then."""
        try:
            for _ in self._tokens([0] * TRIAL, TRIAL, Draw(), lambda: False):
                pass
        except BaseException:
            self.close()
            raise

    def close(self, *, failed: bool = False) -> None:
        """Ends its thread. Requests that are under way hear of it: that the model goes, or that this engine has
        `failed`, so that solo may answer them."""
        self._over = partial(EngineFailed, BROKEN, memory=False) if failed else partial(BackendError, CLOSED)
        atexit.unregister(self.close)
        self._end(self._manager)

    @property
    def bytes(self) -> int:
        """Memory that pages, masks and slots take."""
        return self.sizes.tokens * bytes_of_a_token(self._llm, self.sizes.step)

    @property
    def pages(self) -> tuple[int, int]:
        """Pages that requests hold, and pages that are remembered for prompts to come."""
        manager = self._manager
        return (0, 0) if manager is None else manager.pages()

    def _started(self) -> Manager:
        """The running manager: a new one, with its graphs, where there is none or its thread has died. Raises
        BackendError: an EngineFailed where a new one can't start."""
        with self._lock:
            if self._over is not None:
                raise self._over()
            if self._manager is not None and not self._manager.alive:
                self._manager.end()
                self._manager = None
            if self._manager is None:
                try:
                    self._manager = self._new_manager()
                except Exception as error:  # compilers and drivers fail in many ways, and solo can answer
                    full = of_memory(error)
                    raise EngineFailed(NO_ROOM if full else NOT_STARTED, memory=full) from error
                atexit.register(self.close)
            return self._manager

    def _new_manager(self) -> Manager:
        manager = Manager(self._llm, self.ending, self.sizes)
        try:
            manager.warmup()
            manager.start()
        except BaseException:
            manager.end()
            raise
        return manager

    def _end(self, manager: Manager | None) -> None:
        """Ends this manager, unless that was done before; the next request starts another."""
        with self._lock:
            if manager is not None and self._manager is manager:
                self._manager = None
                manager.end()


def unfit(model: Ovis) -> str | None:
    """Why this engine can't serve a model at all, in one sentence; None when it can."""
    config = model.config.llm_config
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    if layers != {"full_attention"} or getattr(config, "attn_logit_softcapping", None):
        return f"{config.model_type} attends through a sliding window: it answers one request at a time."
    if model.llm.config._attn_implementation not in ("sdpa", "flash_attention_2", "flash_attention_3"):
        return "This model's attention has no version for many requests at once: it answers one at a time."
    if model.llm.device.type not in ("cpu", "cuda"):
        return "Many requests at once need a CPU or a CUDA device: this one answers one at a time."
    if len({weight.device for weight in model.llm.parameters()}) > 1:
        return "A model that is spread over several devices answers one request at a time."
    if not fitting(model).pages:
        return "Beside this model there is no memory for many requests at once: it answers one at a time."
    return None


def slower(model: Ovis) -> str | None:
    """Why solo is faster on a GPU than this engine, in one sentence; None where it isn't, as far as that is known. On
    an H200 without pages that are read in place, solo gave 479 tokens a second and this engine 13."""
    if model.llm.device.type != "cuda":
        return None
    found = means(model.llm)
    if not found.in_place:
        return (
            "Nothing here reads the pages of many requests in place, so solo is faster: install flash-attn, or a torch "
            "whose own attention does."
        )
    if not found.graphs:
        return "This model's steps can't be recorded for many requests, so solo is faster."
    return None


def fitting(model: Ovis) -> Sizes:
    """What the engine may take beside a model, with room to read pictures left."""
    return Sizes.fitting(model.llm, working=working_memory(model))


def room(settings: GenerationSettings, budget: ThinkingBudget | None) -> int:
    """New tokens at most: a forced text is finished even past the limit."""
    limit = settings.max_new_tokens
    return limit if budget is None or budget.budget > limit else max(limit, budget.forced_until)
