"""The engine: requests in, each one's tokens into its own streamer, step by step.

A thread drives it once `start` was called; without, whoever asks drives it by `step`. Knows sequences, steps and their
failures; refuses to know conversations, pictures as files, and models' insides.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from queue import Empty, SimpleQueue

import torch
from torch import Tensor

from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine.answer import EncodedPrompt, RunningAnswer, Streamer, failed, out_of_memory
from ovis_app.engine.block_manager import BlockManager
from ovis_app.engine.lookup import FormerAnswers, Lookup
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.engine.pace import Pace
from ovis_app.engine.sampling import choose
from ovis_app.engine.scheduler import Chunk, Scheduler
from ovis_app.engine.sequence import Sequence
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.errors import CLOSED, OUT_OF_MEMORY, BackendError, RequestError
from ovis_app.generation import GenerationSettings
from ovis_app.request_id import NO_ID, RequestId
from ovis_app.turns import Turns

log = logging.getLogger(__name__)

CPU_PACE = {"seconds": 0.12, "alone_seconds": 0.5, "most": 2048}
GPU_PACE = {"seconds": 0.04, "alone_seconds": 0.3, "most": 8192}
GUESSED_ROWS = 16  # of a step, at most: more cost more than they bring
TOO_LONG = (
    "The conversation and its answer may take {tokens:,} tokens and there is memory for {room:,}: lower max new tokens "
    "or max pixels, or start a new chat."
)


class Engine:
    """Answers many requests at once with one model, over one pool of blocks. From any thread."""

    def __init__(
        self, runner: ModelRunner, blocks: BlockManager, ending: Ending, *, context: int, most_running: int = 64,
        turns: Turns | None = None, lookup: bool = True, give_memory_back: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """`context` tokens of prompt and answer together at most. `turns` are taken with whoever else computes on the
        device; `lookup` guesses; `give_memory_back` is called when a step runs out of memory."""
        self.runner, self.blocks, self.ending, self.context = runner, blocks, ending, context
        self.scheduler = Scheduler(blocks, most_running=most_running)
        self.turns = Turns() if turns is None else turns
        self.lookup, self._former = lookup, FormerAnswers()
        self._give_memory_back = give_memory_back
        gpu = runner.model.device.type == "cuda"
        self.pace = Pace(**(GPU_PACE if gpu else CPU_PACE))  # type: ignore[arg-type]
        self._gpu = gpu
        self._live: dict[Sequence, RunningAnswer] = {}
        self._broken: dict[Sequence, Exception] = {}  # whose readers failed
        self._inbox: SimpleQueue[RunningAnswer] = SimpleQueue()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._prepared = False

    # --- asking ------------------------------------------------------------------------------------------------------

    def add(
        self, prompt: EncodedPrompt, settings: GenerationSettings, *, budget: ThinkingBudget | None = None,
        streamer: Streamer | None = None, stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], None] = lambda _: None, request_id: RequestId = NO_ID,
    ) -> RunningAnswer:  # fmt: skip
        """Queues a request. `stop` is asked before each step; `progress` hears how much of the prompt is computed (0 to
        1), from its first step until all is; `request_id` is what it is called in the log. Raises BackendError for bad
        settings, and for what would never fit."""
        settings = settings.check()
        if self._closed:
            raise BackendError(CLOSED)
        # What the mask hides is seen by nobody and moves no position: it isn't computed at all.
        seen = prompt.mask.bool().tolist()
        ids = [token for token, kept in zip(prompt.ids.tolist(), seen, strict=True) if kept]
        keys = [key for key, kept in zip(prompt.keys, seen, strict=True) if kept]
        begun = sum(seen[len(seen) - prompt.begun :])
        limit = settings.max_new_tokens
        tokens = len(ids) + (limit if budget is None else budget.longest(limit, begun))
        room = min(self.context, self.blocks.count * self.blocks.block_size)
        if tokens > room:
            raise RequestError(TOO_LONG.format(tokens=tokens, room=room))
        answer = RunningAnswer(
            Sequence(ids, keys, prompt.visual, begun=begun), settings, budget, streamer, stop, progress, request_id
        )
        self._inbox.put(answer)
        self._wake.set()
        if self._closed:  # meanwhile: nobody may be there any more to take it in
            raise BackendError(CLOSED)
        return answer

    def generate(
        self, prompt: EncodedPrompt, settings: GenerationSettings, *, budget: ThinkingBudget | None = None,
        streamer: Streamer | None = None, stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], None] = lambda _: None,
    ) -> Tensor:  # fmt: skip
        """New token ids [tokens]; otherwise as `answer`."""
        return self.answer(prompt, settings, budget=budget, streamer=streamer, stop=stop, progress=progress).ids

    def answer(
        self, prompt: EncodedPrompt, settings: GenerationSettings, *, budget: ThinkingBudget | None = None,
        streamer: Streamer | None = None, stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], None] = lambda _: None, request_id: RequestId = NO_ID,
    ) -> RunningAnswer:  # fmt: skip
        """A request's whole answer, its tokens put into `streamer` as they come. Blocks until it ends. Raises
        BackendError, and torch.OutOfMemoryError where this answer has no memory."""
        answer = self.add(
            prompt, settings, budget=budget, streamer=streamer, stop=stop, progress=progress, request_id=request_id
        )
        if self._thread is None:
            self.run()
        answer.wait()
        return answer

    def run(self) -> None:
        """Steps until all is answered, for whoever drives an engine without a thread."""
        with self.runner.threads():
            while self._live or not self._inbox.empty():
                self.step()

    def make_ready(self, stop: Callable[[], bool] = lambda: False) -> None:
        """All that makes steps faster, at once instead of between them, for whoever drives an engine without a thread.
        `stop` is asked before each moment's work."""
        with self.runner.threads():
            while not stop() and self._prepare():
                pass

    @property
    def used_bytes(self) -> int:
        """Of the pool's memory, what holds or remembers something."""
        return self.runner.pool.bytes * (self.blocks.held + self.blocks.cached) // self.blocks.count

    # --- steps -------------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """One step for all that is asked, and a moment's work for faster ones; False where there is nothing to do."""
        self._take_in()
        self._let_go()
        if not self._live:
            return self._prepare()
        if len(self._live) <= GUESSED_ROWS // 2:
            for answer in self._live.values():
                answer.guess(GUESSED_ROWS // len(self._live) - 1)
        decoding = self.scheduler.decoding
        chunks = self.scheduler.schedule(self.pace.tokens(decoding=decoding))
        chunks = [chunk for chunk in chunks if self._reported(chunk)]
        prefill = sum(chunk.tokens for chunk in chunks if chunk.sequence.pending > 1)
        if self.turns.taken:
            self._deliver()  # whoever has it may need a while
        with self.turns:
            begin = time.perf_counter()
            if chunks:
                self._compute(chunks)
            if prefill:
                self.pace.took(prefill, time.perf_counter() - begin, decoding=decoding)
        if not (self._ahead and self._prepared):
            self._deliver()
        self._prepare()
        return True

    @property
    def _ahead(self) -> bool:
        """Whether a step is launched long before it is computed: readers can hear of the last one meanwhile."""
        return self._gpu and self.runner.decode_step is not None and self.runner.decode_step.prefill is not None

    def _deliver(self) -> None:
        """Every reader hears what is new."""
        for sequence, answer in list(self._live.items()):
            try:
                answer.deliver()
            except Exception as error:  # the reader's own; nobody else is to suffer from it
                self._broken[sequence] = error

    def _prepare(self) -> bool:
        """Whether there was something to get ready. No turn is waited for once all is."""
        if self._prepared:
            return False
        with self.turns:
            self._prepared = not self.runner.prepare()
        return not self._prepared

    def _take_in(self) -> None:
        while True:
            try:
                answer = self._inbox.get_nowait()
            except Empty:
                return
            self._live[answer.sequence] = answer
            if self.lookup:
                references = self._former.references(answer.sequence, self.blocks.block_size)
                answer.lookup = Lookup(answer.sequence, references)
            self.scheduler.add(answer.sequence)

    def _let_go(self) -> None:
        """Ends the answers that nobody wants any more, or can hear."""
        for sequence, answer in list(self._live.items()):
            if sequence in self._broken:
                self._fail(sequence, self._broken[sequence])
                continue
            try:
                stopped = answer.stop()
            except Exception as error:  # the reader's own; nobody else is to suffer from it
                self._fail(sequence, error)
                continue
            if stopped:
                self._end(sequence)

    def _reported(self, chunk: Chunk) -> bool:
        """Tells a reader that a step of its answer comes; False where that ended it."""
        try:
            self._live[chunk.sequence].report()
        except Exception as error:  # the reader's own; nobody else is to suffer from it
            self._fail(chunk.sequence, error)
            return False
        return True

    def _compute(self, chunks: SequenceOf[Chunk]) -> None:
        """Runs chunks together; where that fails, in halves, so that what fails fails alone."""
        try:
            logits = self.runner.run(chunks)
            if self._ahead:
                self._deliver()  # what the last step brought, while the device is at this one
            rows = [chunk for chunk in chunks if chunk.last]
            choices = [one for chunk in rows for one in self._live[chunk.sequence].choices(chunk.drafts)]
            tokens = [] if logits is None else choose(logits, choices)
        except Exception as error:  # what drivers and kernels raise is of many kinds
            halves = self._halves(chunks, error)
            if not halves:
                self._fail(chunks[0].sequence, error)
        else:
            self._advance(chunks, rows, tokens)
            return
        for half in halves:  # here the exception is gone, and with it what its traceback held
            self._compute(half)

    def _halves(self, chunks: SequenceOf[Chunk], error: Exception) -> list[SequenceOf[Chunk]]:
        """What to try instead of a step that failed; nothing where it was one chunk that can't be made smaller."""
        memory = out_of_memory(error)
        log.warning("a step of %d chunks failed: %s", len(chunks), error, exc_info=not memory)
        if memory:
            self._give_memory_back()
            tried_before = self._live[chunks[0].sequence].shortage is not None
            for chunk in chunks:
                self._live[chunk.sequence].ran_out()
            prefill = sum(chunk.tokens for chunk in chunks if chunk.sequence.pending > 1)
            if prefill:
                self.pace.out_of_memory(prefill)
        if len(chunks) > 1:
            middle = len(chunks) // 2
            return [chunks[:middle], chunks[middle:]]
        only = chunks[0]
        if only.drafts:
            return [[Chunk(only.sequence, only.tokens)]]
        if memory and only.tokens > self.blocks.block_size:
            self._live[only.sequence].ran_out(only.tokens // 2)
            return [[Chunk(only.sequence, only.tokens // 2)]]
        return [[only]] if memory and not tried_before else []  # once more, now that memory was given back

    def _advance(self, chunks: SequenceOf[Chunk], rows: SequenceOf[Chunk], tokens: SequenceOf[int]) -> None:
        for chunk in chunks:
            chunk.sequence.computed += chunk.tokens
            self.blocks.remember(chunk.sequence)
        left = iter(tokens)
        for chunk in rows:
            chosen = [next(left) for _ in range(1 + len(chunk.drafts))]
            try:
                over = self._take(self._live[chunk.sequence], chunk.drafts, chosen)
            except Exception as error:  # the reader's own; nobody else is to suffer from it
                self._fail(chunk.sequence, error)
                continue
            if over:
                self._end(chunk.sequence)

    def _take(self, answer: RunningAnswer, drafts: SequenceOf[int], chosen: SequenceOf[int]) -> bool:
        """The token behind the last one, and those behind drafts that came true; whether the answer is over."""
        sequence = answer.sequence
        sequence.drafts = []
        over = answer.take(chosen[0], self.ending.eos)
        true = 0
        while not over and true < len(drafts) and drafts[true] == chosen[true]:
            true += 1
            sequence.computed += 1
            over = answer.take(chosen[true], self.ending.eos)
        if drafts and answer.lookup is not None:
            answer.lookup.judge(len(drafts), true)
        return over

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        memory = out_of_memory(error)
        if not memory:
            log.error("an answer failed (request %s)", self._live[sequence].request_id, exc_info=error)
        self._end(sequence, torch.OutOfMemoryError(OUT_OF_MEMORY) if memory else failed(error))

    def _end(self, sequence: Sequence, error: BaseException | None = None) -> None:
        answer, broken = self._live.pop(sequence), self._broken.pop(sequence, None)
        if error is None and broken is not None:  # its last token was chosen while the one before couldn't be heard
            log.error("an answer failed (request %s)", answer.request_id, exc_info=broken)
            error = failed(broken)
        try:
            self.scheduler.remove(sequence)
            self._former.keep(sequence, self.blocks.block_size)
        except Exception as failure:  # a mistake of ours: the reader hears an end all the same
            log.exception("an answer that ended can't be put away (request %s)", answer.request_id)
            error = failed(failure)
        answer.end(error)

    # --- the thread --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Drives the engine from a thread of its own, until `close`."""
        self._thread = threading.Thread(target=self._drive, name="ovis-engine", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # an interpreter that goes down under a thread inside torch aborts

    def _drive(self) -> None:
        with self.runner.threads():
            while not self._closed:
                try:
                    busy = self.step()
                except Exception as error:  # the edge of the thread: answers under way end, the next ones begin anew
                    log.exception("the engine failed")
                    self._end_all(failed(error))
                    continue
                if not busy and self._inbox.empty():
                    self._wake.wait()
                    self._wake.clear()
        self._end_all(BackendError(CLOSED))

    def _end_all(self, error: BaseException) -> None:
        self._take_in()
        for sequence in list(self._live):
            self._end(sequence, error)

    def close(self, seconds: float = 10.0) -> None:
        """Ends the thread after the step under way, and all answers with it."""
        self._closed = True
        self._wake.set()
        atexit.unregister(self.close)
        if self._thread is None:
            self._end_all(BackendError(CLOSED))
        elif self._thread is not threading.current_thread():
            self._thread.join(seconds)
