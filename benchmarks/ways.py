"""The two ways to answer that are compared over the same weights: our engine, and transformers' `generate`.

Knows prompts of random ids and how both are asked; refuses to know what is measured with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine import plain
from ovis_app.engine.attention.torch_attention import NAME
from ovis_app.engine.engine import Engine
from ovis_app.engine.kv_pool import KVShape
from ovis_app.engine.memory_plan import MemoryPlan
from ovis_app.engine.open_engine import open_engine
from ovis_app.generation import GenerationSettings
from ovis_app.models.devices import few_threads
from ovis_app.models.ovis import Ovis
from ovis_app.models.prompt import VISUAL_ATOM

IDS = 500  # text ids of made-up prompts are below: every vocabulary has them
SPARE = 64  # tokens of blocks that are begun and of what a step of the scheduler keeps free, for each person
GPU_MEMORY = 0.85  # the app's own share

Way = Callable[["Prompt", Any], Tensor]  # the new ids of an answer, put into a streamer as they come


@dataclass(frozen=True)
class Prompt:
    """A prompt as engines take it; see `ovis_app.engine.engine.Prompt`."""

    ids: Tensor
    mask: Tensor
    keys: tuple[int, ...]
    visual: Tensor | None
    begun: int = 0


class Clock:
    """A streamer that notes when each token came, in seconds after `start`."""

    def __init__(self, start: float) -> None:
        self.start = start
        self.times: list[float] = []

    @property
    def first(self) -> float:
        return self.times[0]

    def put(self, value: Tensor) -> None:
        self.times += [time.perf_counter() - self.start] * value.numel()

    def end(self) -> None:
        pass


_numbers = count()


def prompts(model: Ovis, people: int, tokens: int, visual: int) -> list[Prompt]:
    """Prompts that nobody has asked before, of `tokens` tokens, `visual` of them a picture's that was never seen."""
    made = []
    for number in (next(_numbers) for _ in range(people)):
        noise = torch.Generator().manual_seed(number)
        rows = torch.randn(visual, model.config.llm_config.hidden_size, generator=noise) * 0.02
        made.append(prompt(number, tokens, rows.to(model.device, model.dtype)))
    return made


def prompt(number: int, tokens: int, visual: Tensor) -> Prompt:
    """A prompt of `tokens` tokens, another for each number, around a picture's `visual` embeddings [tokens, hidden]."""
    marks = 2 if len(visual) else 0
    text = torch.randint(1, IDS, (tokens - len(visual) - marks,), generator=torch.Generator().manual_seed(number))
    picture = [-301, *[VISUAL_ATOM] * len(visual), -302] if marks else []
    ids = text[:8].tolist() + picture + text[8:].tolist()
    keys = tuple(-(1 << 21) - number if token == VISUAL_ATOM else token for token in ids)
    return Prompt(torch.tensor(ids), torch.ones(len(ids)).long(), keys, visual if marks else None)


def endless(model: Ovis) -> Ending:
    """No answer ends by itself."""
    return Ending((model.config.llm_config.vocab_size,), 0)


def plan_for(model: Ovis, *, people: int, tokens: int) -> MemoryPlan:
    """Memory for so many conversations of so many tokens at once; on a GPU what the app would take."""
    token = KVShape.of(model.llm.config.get_text_config()).token_bytes(model.dtype)
    room = 2 * people * (tokens + SPARE) * token
    return MemoryPlan.of(model, context=tokens, prefix_cache=room, gpu_memory=GPU_MEMORY)


@contextmanager
def engine_over(model: Ovis, *, people: int, tokens: int) -> Iterator[Engine]:
    """Ours, at work, with room for so many people's conversations of so many tokens. Threads are as many as the model
    is worth for `generate` too: each way sets them for the other."""
    plan = plan_for(model, people=people, tokens=tokens)
    with few_threads(model.llm):
        engine = open_engine(model, endless(model), plan=plan, context=tokens, most_running=people, lookup=False)
        engine.start()
        try:
            yield engine
        finally:
            engine.close()


def ours(engine: Engine, settings: GenerationSettings) -> Way:
    """By the engine, with whoever else asks. Made anew after `generate` had the model."""
    engine.runner.model.set_attention(NAME)
    return lambda prompt, streamer: engine.generate(prompt, settings, streamer=streamer)


def one_at_a_time(model: Ovis, settings: GenerationSettings) -> Way:
    """By `generate`, behind a queue: an answer begins once those that came before are over."""
    queue = ThreadPoolExecutor(1)

    def answer(prompt: Prompt, streamer: Any) -> Tensor:
        return plain.generate(model, prompt, settings, ending=endless(model), streamer=streamer)

    return lambda prompt, streamer: queue.submit(answer, prompt, streamer).result()


def together(asked: Sequence[Prompt], way: Way) -> tuple[list[Clock], float]:
    """All prompts at once, each from a thread of its own: what each heard, and the seconds that all took."""
    start = time.perf_counter()
    heard = [Clock(start) for _ in asked]
    with ThreadPoolExecutor(len(asked)) as threads:
        list(threads.map(way, asked, heard))
    return heard, time.perf_counter() - start
