"""transformers' continuous batching, made fit for this app: explicit sizes, a thread that ends with the process, a box
for each request's answer, and two repairs to its scheduler.

All that leans on the inside of transformers' paged engine is here and in sampling.py. Knows pages and batches;
refuses to know conversations, pictures and settings.
"""

from __future__ import annotations

import inspect
import logging
import threading
import traceback
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel
from transformers.generation.continuous_batching import continuous_api, scheduler
from transformers.generation.continuous_batching.requests import GenerationOutput, RequestState, RequestStatus

from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine.paged import PAGE, hand_on, means
from ovis_app.engine.sampling import MOST, Draws
from ovis_app.errors import OUT_OF_MEMORY, BackendError

log = logging.getLogger(__name__)

BROKEN = "The model failed while answering: try again, or start a new chat."

CPU_TOKENS, GPU_TOKENS = 1 << 15, 1 << 20  # tokens that the pages hold at most
LONGEST = 1 << 16  # tokens of a request whose pages are read where they are; those of longer ones are copied together
LEAST = 1024  # tokens: where the pages hold fewer, nobody's conversation fits
GPU_SHARE = 0.8  # of the memory that is free once the model is loaded and has room to work


@dataclass(frozen=True)
class Sizes:
    """What the engine may take. All in tokens, but for `pages` and `requests`."""

    page: int = 32  # tokens of a page: what prompts with a common beginning share is whole pages
    pages: int = 512
    step: int = 512  # tokens that one step computes at most
    requests: int = 32  # answered in one step at most; more wait
    slots: int = 8192  # visual tokens of all pictures that requests hold

    @property
    def tokens(self) -> int:
        """Tokens that the pages hold."""
        return self.page * self.pages

    @classmethod
    def fitting(cls, llm: PreTrainedModel, memory: int | None = None, *, working: int = 0) -> Sizes:
        """Sizes for a model, with at most `memory` bytes for pages, masks and slots; on a GPU no more than `share` of
        what is free, on a CPU 1 GiB where nothing is said. Where nothing sensible is left, no pages."""
        gpu = llm.device.type == "cuda"
        step, page, most = (2048, PAGE, GPU_TOKENS) if gpu else (512, 32, CPU_TOKENS)
        free = share(torch.cuda.mem_get_info(llm.device)[0], working) if gpu else 1 << 30
        memory = free if memory is None else min(memory, free) if gpu else memory
        pages = tokens_in(memory, bytes_of_a_token(llm, step), most) // page
        return cls(page=page, pages=pages, step=step, requests=64 if gpu else 32, slots=page * pages)


def share(free: int, working: int) -> int:
    """Bytes that the pages may take of a GPU's `free` ones, of which `working` are needed to read pictures."""
    return int(max(free - working, 0) * GPU_SHARE)


def tokens_in(memory: int, token: int, most: int) -> int:
    """Tokens that `memory` bytes hold at `token` bytes each, `most` at most; 0 where they are too few for anybody."""
    held = min(memory // token, most)
    return held if held >= LEAST else 0


def bytes_of_a_token(llm: PreTrainedModel, step: int) -> int:
    """Memory that one more token of capacity takes: keys and values of all layers, a slot, a column of the mask."""
    config = llm.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    wide = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    mask = 0 if means(llm).attention else step
    return int((2 * config.num_hidden_layers * heads * wide + config.hidden_size + mask) * llm.dtype.itemsize)


class Scheduler(scheduler.FIFOScheduler):
    """First come, first served. A request that was cancelled makes room like one that has finished, and the step under
    way, if there is one, has nothing left to tell it."""

    def clear_cancelled_requests(self) -> list[RequestState]:
        cancelled = super().clear_cancelled_requests()
        for state in cancelled:
            self.block_new_requests = False  # or those that wait would wait for ever
            state._status = RequestStatus.FINISHED  # or the step under way would look for its pages
        return cancelled


scheduler.SCHEDULER_MAPPING["ovis"] = Scheduler


class EngineFailed(BackendError):
    """The engine can't answer, though the model may. For want of `memory`, or for whatever else the log says."""

    def __init__(self, sentence: str, *, memory: bool) -> None:
        super().__init__(sentence)
        self.memory = memory


def of_memory(error: BaseException) -> bool:
    """Whether an error is a lack of memory. Nothing else may be called so."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError)


class Router(continuous_api.OutputRouter):
    """Puts what comes out into the box of the request that it belongs to: outputs, or the failure. Logs each cause."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: dict[str, SimpleQueue[GenerationOutput | EngineFailed]] = {}
        self._cause = ""  # the last that was logged
        self._memory = False  # whether that was a lack of memory

    def deliver(self, output: GenerationOutput) -> None:
        self._put(output.request_id, output)

    def deliver_batch(self, outputs: list[GenerationOutput]) -> None:
        for output in outputs:
            self._put(output.request_id, output)

    def fail_and_deliver(self, state: RequestState, error: Exception) -> None:
        state.status = RequestStatus.FAILED
        if error.__traceback__ is not None:  # else nobody raised it: what is left is ended for a cause known before
            self.log_cause(error)
        self._put(state.request_id, self.failure())

    def failure(self) -> EngineFailed:
        """What a request is told. Never the error itself, whose traceback would keep tensors."""
        return EngineFailed(OUT_OF_MEMORY if self._memory else BROKEN, memory=self._memory)

    def log_cause(self, error: BaseException) -> None:
        """Once for all requests that fail of it; as text, for the same reason."""
        cause = "".join(traceback.format_exception(error))
        if cause != self._cause:
            log.error("the engine for many requests at once failed\n%s", cause)
        self._cause, self._memory = cause, of_memory(error)

    def _put(self, request: str, what: GenerationOutput | EngineFailed) -> None:
        box = self.boxes.get(request)
        if box is not None:  # else nobody waits for it any more
            box.put(what)


class Manager(continuous_api.ContinuousBatchingManager):
    """The paged engine over one language model; its thread starts with `start`."""

    def __init__(self, llm: PreTrainedModel, ending: Ending, sizes: Sizes) -> None:
        self._means = means(llm)
        super().__init__(
            model=llm,  # type: ignore[arg-type]
            generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
                do_sample=False, eos_token_id=list(ending.eos), pad_token_id=ending.pad, max_new_tokens=1
            ),
            continuous_batching_config=ContinuousBatchingConfig(
                page_size=sizes.page,
                num_blocks=sizes.pages,
                max_batch_tokens=sizes.step,
                max_requests_per_batch=min(sizes.requests, sizes.step),
                max_blocks_per_request=0,
                max_memory_percent=100.0,  # `sizes` leave room; the original would count a mask that isn't made
                # Where new tokens have a way of their own, its few sizes are recorded, all of them in `warmup`. Prompts
                # are read in hundreds of sizes, and each would be recorded while somebody waits for it.
                use_cuda_graph=(self._means.graphs and not self._means.in_place, self._means.graphs),
                use_async_batching=self._means.graphs,
                scheduler_type="ovis",
            ),
        )
        if self._means.in_place:  # set late, since the original would refuse it for an attention that it doesn't know
            self.continuous_batching_config.max_blocks_per_request = min(sizes.pages, LONGEST // sizes.page)
        self.logit_processor = Draws(MOST if llm.device.type == "cuda" else None)  # type: ignore[assignment]
        self.output_router = self.router = Router()
        # The process's generator is solo's, and may be in use.
        self.distributed_helper.set_tp_seed = lambda *_: None  # type: ignore[method-assign]
        self._handed = hand_on(llm)

    def switch_to_cb_friendly_attn(self, model: Any, auto_switch_to_flash: bool = True) -> None:
        """To the best that is here for a batch of requests, where the original would fetch kernels."""
        if self._means.attention:
            model.set_attn_implementation(self._means.attention)

    def warmup(self) -> None:
        """Takes the memory and records the graphs. The original asks the current device, which may be another one."""
        with torch.cuda.device_of(next(self.model.parameters())):
            super().warmup()

    def start(self) -> None:
        """A daemon, unlike the original's: a process may end under it."""
        self.background_thread_status.clear()
        thread = threading.Thread(target=self._run, name="ovis-batch", daemon=True)
        self._generation_thread = thread  # type: ignore[assignment]
        thread.start()

    def _run(self) -> None:
        """The edge of the thread: what the original doesn't catch is in the log too."""
        try:
            loop = self._run_generation_loop
            # transformers 5.24 asks for it, 5.23 knew no other: the mode is a thread's, and new threads aren't in it.
            loop(**{name: False for name in inspect.signature(loop).parameters if name == "use_inference_mode"})
        except BaseException as error:
            self.router.log_cause(error)

    def end(self, seconds: float = 10.0) -> None:
        """Ends the thread after the step under way, fails what is left, and gives the memory back."""
        error = self.background_thread_status.fatal_error
        if error is not None:  # or its traceback would keep the pages, and the next manager find no memory for its own
            error.__traceback__ = error.__context__ = None
        self._handed.remove()
        if self._generation_thread is not None:
            self.stop(block=True, timeout=seconds, hard_stop=True)

    @property
    def alive(self) -> bool:
        """Whether requests are still answered."""
        return self.is_running() and self.background_thread_status.can_accept_new_requests() is None

    def pages(self) -> tuple[int, int]:
        """Pages that requests hold, and pages that are only remembered. (0, 0) before the first request."""
        processor: Any = self.batch_processor
        if processor is None:
            return 0, 0
        held: set[int] = set()
        remembered = 0
        for allocator in processor.cache.cache_allocators.values():
            held.update(page for table in list(allocator.block_table.values()) for page in list(table))
            remembered += len(allocator.ledger.cached_blocks)
        return len(held), remembered
