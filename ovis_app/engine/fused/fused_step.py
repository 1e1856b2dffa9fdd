"""The decode step in Triton: the same as `DecodeStep`, in seven kernels a layer (nine with experts), recorded as one
graph a batch size.

Sizes are made ready one by one behind the first answers, each tried against the step in torch first; what isn't ready,
or failed, goes by that one. Knows steps, pools and sizes; refuses to know sequences and schedules.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ovis_app.engine.attention.torch_attention import AttentionBatch
from ovis_app.engine.decode_step import DecodeStep
from ovis_app.engine.fused.graphs import Launch
from ovis_app.engine.fused.inputs import Inputs
from ovis_app.engine.fused.launches import OWN_PRODUCTS, Launches
from ovis_app.engine.fused.prefill import MOMENT, FusedPrefill
from ovis_app.engine.fused.routing import Routing
from ovis_app.engine.fused.tiles import PROCESSORS
from ovis_app.engine.fused.trial import trial
from ovis_app.engine.kv_pool import KVPool

log = logging.getLogger(__name__)

SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)  # rows that steps are made for; fewer are padded
MOST_SECONDS = 15.0  # that getting ready may take, in all


class FusedStep:
    """Logits for one new token of each of several sequences, as a `DecodeStep` gives them; they hold until the next
    call. `why` says what keeps it from being used, once something does."""

    def __init__(
        self, step: DecodeStep, pool: KVPool, *, context: int, most_rows: int, record: Callable[[Launch], Launch],
        processors: int = PROCESSORS,
    ) -> None:  # fmt: skip
        """For up to `most_rows` sequences of up to `context` tokens over one pool. `record` makes a graph."""
        self.step, self.pool, self.why = step, pool, ""
        self.sizes = [size for size, less in zip(SIZES, (0, *SIZES), strict=False) if less < most_rows]
        self._context, self._record, self._processors = context, record, processors
        self._inputs: dict[int, Inputs] = {}
        self._ready: dict[int, Launch] = {}
        self._launches: Launches | None = None
        self._prefill = FusedPrefill(step)

    @property
    def ready(self) -> list[int]:
        """Sizes that are recorded."""
        return sorted(self._ready)

    @property
    def prefill(self) -> FusedPrefill | None:
        """What computes steps with prompts, once it is ready."""
        return self._prefill if self._prefill.ready else None

    @property
    def together(self) -> bool:
        """Whether the model's own weights are still the ones that this step reads."""
        return self.step.together

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, positions: Tensor, batch: AttentionBatch) -> Tensor:
        """Logits [sequences, vocabulary] behind `tokens` [sequences] at `positions` [sequences]."""
        size = next((size for size in self.ready if size >= len(tokens)), None)
        if size is None:
            return self.step(tokens, positions, batch)
        self._inputs[size].fill(tokens, positions, batch)
        return self._ready[size]()[: len(tokens)]

    def prepare(self, seconds: float = MOST_SECONDS) -> Iterator[None]:
        """Makes prompts and sizes ready, a moment's work each time. Ends with the last, after `seconds` of work, or
        where there is no memory for more; with a warning where none is ready then, or the step doesn't compute what it
        should."""
        spent = 0.0
        for work in self._works():
            begin = time.perf_counter()
            for _ in work:
                spent += time.perf_counter() - begin
                yield  # what others compute meanwhile is no work of this
                if spent > seconds:
                    self._leave_it(f"getting it ready takes more than {seconds:.0f} s")
                    return
                begin = time.perf_counter()

    def _works(self) -> Iterator[Iterator[None]]:
        """Who is alone comes first, then whoever asks next, then those who can be padded to larger sizes."""
        alone, *others = sorted(self.sizes, key=lambda size: (1 < size <= OWN_PRODUCTS, size))
        yield self._prepare(alone)
        yield self._prefill.prepare(self.pool.block_size)
        for size in others:
            if alone not in self._ready:
                return
            yield self._prepare(size)

    def _prepare(self, size: int) -> Iterator[None]:
        """Compiles, tries and records the step for one size."""
        why = ""
        try:
            at = self._at(size)
            yield from self._compile(at)
            why = self._try(at)
            yield
            if not why:
                self._ready[size] = self._record(partial(self.run, at, self.pool))
                yield
        except torch.OutOfMemoryError:
            self._leave_it("there is no memory to get it ready")
        except Exception as error:  # what compilers and drivers raise is of many kinds
            why = f"{type(error).__name__}: {error}".partition("\n")[0]
        if why:
            self._ready.clear()
            self._leave_it(why)

    def _leave_it(self, why: str) -> None:
        """No more sizes, since what is ready does, or since nothing is."""
        if self._ready:
            log.info("fused steps are recorded for %s rows, and for no more: %s", self.ready, why)
        else:
            self.why = why
            log.warning("the fused decode step isn't used, tokens come by the one in torch: %s", why)

    @torch.inference_mode()
    def _at(self, size: int) -> Inputs:
        if self._launches is None:
            self._launches = Launches(self.step, most_rows=self.sizes[-1], processors=self._processors)
        blocks = -(-self._context // self.pool.block_size)
        self._inputs[size] = Inputs(size, blocks=blocks, device=self.step.norm.device)
        return self._inputs[size]

    def _compile(self, at: Inputs) -> Iterator[None]:
        """Kernels are compiled where they are first launched: here, on padding."""
        assert self._launches is not None
        launches, begin = self._launches.of(at, self.pool), time.perf_counter()
        while True:
            with torch.inference_mode():
                if next(launches, None) is not None:
                    return
            if time.perf_counter() - begin > MOMENT:
                yield
                begin = time.perf_counter()

    def _try(self, at: Inputs) -> str:
        return trial(
            self.step, self.run, at, block_size=self.pool.block_size, context=self._context,
            routings=self.routings,
        )  # fmt: skip

    def routings(self, rows: int) -> list[Routing]:
        """Which experts each row of the last step got, and their shares, for each mixture."""
        return [] if self._launches is None else self._launches.routings(rows)

    @torch.inference_mode()
    def run(self, at: Inputs, pool: KVPool) -> Tensor:
        """Logits [rows, vocabulary], each kernel launched by itself."""
        assert self._launches is not None
        *_, logits = self._launches.of(at, pool)
        assert logits is not None
        return logits
