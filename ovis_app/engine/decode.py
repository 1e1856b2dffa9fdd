"""The next token near a GPU's limit: one step of a language model as a recorded graph, over buffers that never move.

Python launches a thousand kernels a token, slower than a GPU runs them; a CUDA graph launches them all at once, and the
compiler makes few of many. A graph is recorded for each of some cache lengths, at load, so that no question waits for
it. Knows one token's step; refuses to know sampling, streams of tokens and requests.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from ovis_app.checkpoints.memory_fit import working_memory
from ovis_app.engine.static_cache import CACHE, CHUNK, NAME, CacheShape, StaticCache
from ovis_app.models.ovis import Ovis

log = logging.getLogger(__name__)

SMALLEST = 4  # chunks of the shortest graph
SHARE = 0.25  # of the memory that is free after loading and beside the room to work, at most, for the buffers
LEAST = 2048  # tokens: where fewer fit, buffers are not worth having
TUNING: dict[str, Any] = {
    "coordinate_descent_tuning": True
}  # products of one row become plain reads, which is what they are

Progress = Callable[[int, int], None]  # graphs recorded, graphs in all


class Runner(Protocol):
    """Runs a step over the first `chunks` chunks."""

    def record(self, chunks: int) -> None: ...

    def run(self, chunks: int) -> None: ...


class Eager:
    """Nothing recorded: every step launched from Python. What graphs are compared with, and all that a CPU has."""

    def __init__(self, step: Callable[[int], None]) -> None:
        self.step = step

    def record(self, chunks: int) -> None:
        self.step(chunks)

    def run(self, chunks: int) -> None:
        self.step(chunks)


class Graphs:
    """A CUDA graph for each number of chunks, all in one pool of memory since only one runs at a time."""

    def __init__(self, step: Callable[[int], None]) -> None:
        self.step = step
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, chunks: int) -> None:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.step(chunks)  # compiles, tunes, and lets libraries set up what can't be recorded
            with unwaiting():
                self.step(chunks)
        torch.cuda.current_stream().wait_stream(side)
        graph, here = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        # `stream`, since where a recording fails its own would stay the current one.
        with torch.cuda.stream(here), torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            self.step(chunks)
        self._graphs[chunks] = graph

    def run(self, chunks: int) -> None:
        self._graphs[chunks].replay()


@contextmanager
def unwaiting() -> Iterator[None]:
    """Raises RuntimeError where the host waits for the GPU. That can't be recorded, and where a recording fails of it
    torch's allocator may never learn that it is over (https://github.com/pytorch/pytorch/pull/180395)."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class Decoder:
    """Batch-1 decoding of one language model. `load` a prompt's cache, `step` token by token, `save`, `clear`."""

    def __init__(
        self,
        llm: PreTrainedModel,
        tokens: int,
        *,
        runner: Callable[[Callable[[int], None]], Runner] = Eager,
        backend: str | Callable[..., Any] | None = None,
    ) -> None:
        """Room for `tokens` tokens, prompt included. `backend` compiles the step, by torch.compile's name for it."""
        self.llm, device = llm, llm.device
        self.cache = StaticCache(cache_shape(llm), tokens, device)
        self.token = torch.zeros(1, 1, dtype=torch.long, device=device)
        self.position = torch.zeros(1, 1, dtype=torch.long, device=device)
        self.logits = torch.zeros(1, llm.config.vocab_size, device=device)  # float32, as processors take them
        self.sizes = sizes(self.cache.chunks)
        self._runner = runner(self._advance)
        self._forward: Callable[[Tensor], Tensor] = self._logits
        if backend is not None:
            options = TUNING if backend == "inductor" else None
            self._forward = torch.compile(self._logits, fullgraph=True, backend=backend, options=options)
        self._tokens = self.cache.capacity  # that may differ from zero

    @property
    def device(self) -> torch.device:
        return self.token.device

    def fits(self, tokens: int) -> bool:
        """Whether a conversation of so many tokens, prompt and answer, has room."""
        return tokens <= self.cache.capacity

    @torch.inference_mode()
    def record(self, progress: Progress) -> None:
        """Records all graphs, the longest first: it needs the most memory. `progress` may raise to end the work."""
        try:
            for done, chunks in enumerate(reversed(self.sizes)):
                progress(done, len(self.sizes))
                self._runner.record(chunks)
            progress(len(self.sizes), len(self.sizes))
        finally:
            self.clear()  # of the tokens that the recordings wrote

    def load(self, cache: DynamicCache, mask: Tensor) -> None:
        """Takes over a prompt: its computed cache and its mask [tokens], 0 where attention must not look."""
        self._tokens = len(mask)
        self.cache.load(cache, mask)
        self.position.fill_(int(mask.sum()))

    def step(self, token: Tensor) -> Tensor:
        """Logits [1, vocabulary], float32, after one more token [1]. The next step overwrites them. Waits for nothing:
        on a GPU it returns before they are computed."""
        self.token.copy_(token.view(1, 1))
        self._tokens += 1
        needed = -(-self._tokens // CHUNK)
        self._runner.run(next(chunks for chunks in self.sizes if chunks >= needed))
        return self.logits

    def save(self, cache: DynamicCache, tokens: int) -> None:
        """Grows the prompt's cache to `tokens` tokens by what the steps computed."""
        self.cache.save(cache, tokens)

    def clear(self) -> None:
        """Forgets the conversation, whatever became of it."""
        self.cache.clear(self._tokens)
        for buffer in (self.token, self.position, self.logits):
            buffer.zero_()
        self._tokens = 0

    def _advance(self, chunks: int) -> None:
        """One step on buffers alone, which is what a graph can hold."""
        cache = self.cache
        cache.mask.view(-1).index_fill_(0, cache.place, 0.0)
        seen = cache.mask[:chunks]
        torch._dynamo.maybe_mark_dynamic(seen, 0)  # one compilation for all lengths
        with attention(self.llm, NAME):
            self.logits.copy_(self._forward(seen))
        cache.place.add_(1)
        self.position.add_(1)

    def _logits(self, mask: Tensor) -> Tensor:
        out = self.llm(
            input_ids=self.token,
            position_ids=self.position,
            attention_mask=mask,
            use_cache=True,
            **{CACHE: self.cache},
        )
        return out.logits[:, -1]  # type: ignore[no-any-return]


@contextmanager
def attention(llm: PreTrainedModel, name: str) -> Iterator[None]:
    """Another attention function for a while. The graphs keep the one that they were recorded with."""
    before = llm.config._attn_implementation
    llm.config._attn_implementation = name
    try:
        yield
    finally:
        llm.config._attn_implementation = before


def sizes(chunks: int) -> list[int]:
    """Lengths to record graphs for, in chunks: two for each doubling, so that at most a third is read for nothing."""
    found = {chunks}
    size = SMALLEST
    while size < chunks:
        found |= {size, min(size * 3 // 2, chunks)}
        size *= 2
    return sorted(found)


def cache_shape(llm: PreTrainedModel) -> CacheShape:
    config = llm.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return CacheShape(config.num_hidden_layers, config.num_key_value_heads, head_dim, llm.dtype)


def recordable(llm: PreTrainedModel) -> bool:
    """Whether a step can be a graph: with LLM.int8 the host waits for numbers in the midst of each product."""
    return not any(type(module).__name__ == "Linear8bitLt" for module in llm.modules())


def servable(llm: PreTrainedModel) -> bool:
    """Whether one token's attention is the plain one: no sliding window, no soft cap, all weights on one device."""
    config = llm.config
    plain = getattr(config, "attn_logit_softcapping", None) is None
    full = not any(getattr(layer, "is_sliding", True) for layer in DynamicCache(config=config).layers)
    return plain and full and len({weight.device for weight in llm.parameters()}) == 1


def warm_up(model: Ovis, *, context: int, progress: Progress = lambda done, total: None) -> Decoder | None:
    """A decoder with its graphs recorded, for up to `context` tokens and as memory allows; None where there is no CUDA
    GPU or the model isn't one that it serves. Takes from seconds to a few minutes. `progress` may raise to end it."""
    llm = model.llm
    if llm.device.type != "cuda" or not servable(llm) or not recordable(llm):
        return None
    free, _ = torch.cuda.mem_get_info(llm.device)
    tokens = room(cache_shape(llm), context, free - working_memory(model))
    if not tokens:
        log.info("decoding isn't recorded: no memory for static buffers")
        return None
    with torch.cuda.device(llm.device):
        return recorded(llm, tokens, progress, runner=Graphs)


def room(shape: CacheShape, context: int, free: int) -> int:
    """Tokens to have buffers for, given `free` bytes that nothing else needs, which may be below zero; 0 where too few
    fit to be worth it."""
    tokens = min(context, int(max(free, 0) * SHARE) // shape.token_bytes)
    return tokens if tokens >= min(LEAST, context) else 0


def recorded(
    llm: PreTrainedModel, tokens: int, progress: Progress, *, runner: Callable[[Callable[[int], None]], Runner]
) -> Decoder | None:
    """A decoder that is compiled, or else only recorded, or None where neither works."""
    torch.compiler.reset()  # what was compiled for another model; its graphs need it no more
    for backend in ("inductor", None):
        try:
            decoder = Decoder(llm, tokens, runner=runner, backend=backend)
            decoder.record(_guarded(progress))
            return decoder
        except Cancelled as cancelled:
            raise cancelled.cause from None
        except Exception:  # compilers and drivers fail in many ways, and answers come without them too
            log.warning("decoding isn't %s", "compiled" if backend else "recorded", exc_info=True)
    return None


class Cancelled(Exception):
    """Whoever watched the progress raised `cause`."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__()
        self.cause = cause


def _guarded(progress: Progress) -> Progress:
    """Tells what the watcher raises from what the work raises."""

    def told(done: int, total: int) -> None:
        try:
            progress(done, total)
        except BaseException as error:
            raise Cancelled(error) from error

    return told
