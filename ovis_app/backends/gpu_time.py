"""How many seconds of a GPU an answer will take, where they have to be asked for beforehand.

Computed from one table of coefficients, with a margin, and corrected by what earlier answers took. Knows bytes,
products and seconds; refuses to know whose GPU it is, and what is answered.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

MARGIN = 1.25  # of what is expected
LEAST = 5  # seconds: for less nobody comes sooner
VISITOR = 120  # seconds that somebody who isn't signed in has in a day: a first question is never refused
SLOWEST, FASTEST = 20.0, 0.1  # times what was computed; past that something else is wrong
FORGET = 0.2  # of a correction that turns out too high, with each answer
RAN_OUT = 1.5  # times as long, where all that is known is that it was too little
TELLING = 8  # tokens of an answer that tell how long one takes


@dataclass(frozen=True)
class Card:
    """What a GPU does in a second."""

    memory: int  # bytes
    bandwidth: float  # bytes a second that are read
    flops: float  # of bfloat16 products
    counted: float  # seconds of somebody's quota that one that is asked for counts as

    @property
    def most(self) -> int:
        """Seconds that are asked for at most."""
        return int(VISITOR / self.counted)


# Computed, not measured. By its data sheet an RTX PRO 6000 Blackwell (Server Edition) reads 1.6 TB a second, and
# multiplies at 4,000 TOPS in FP4 with sparsity: half of that without, a quarter of the rest in bfloat16, 500 TFLOPS.
# `large` is half a card: a neighbour may have the other half, and `spaces` (0.51) asks for half as much time again.
CARDS = {
    "large": Card(memory=48 * 10**9, bandwidth=0.8e12, flops=250e12, counted=1.5),
    "xlarge": Card(memory=96 * 10**9, bandwidth=1.6e12, flops=500e12, counted=2),
}
READ = 0.7  # share of the bandwidth that reading weights for a few rows gets
MULTIPLIED = 0.4  # share of the products' rate that a prompt or the tower gets
BEGIN = 3.0  # seconds until a process that was forked has a GPU
MOVED = 4e9  # bytes of weights a second that come into it, from disk through pinned memory
FIRST = 1.0  # seconds of a new process's first step, in which libraries load their kernels
LAYER = 0.0002  # seconds for calling the 20 operations of a layer, 10 us each, in a step that isn't recorded
STEP = 0.001  # seconds of a step for everything else: the sampler, and waiting for its token


@dataclass(frozen=True)
class ModelCost:
    """What a loaded model costs."""

    bytes: int  # of all weights
    step_bytes: int  # of the weights that each new token reads
    token_flops: float  # products of a prompt's token
    visual_flops: float  # products of a visual token in the tower and its vocabulary
    kv_bytes: int  # of a token's keys and values
    layers: int


@dataclass(frozen=True)
class Amount:
    """How much an answer is."""

    prompt_tokens: int  # visual tokens among them
    visual_tokens: int
    new_tokens: int  # at most, with what a thinking budget forces; once it is over, those that came


@dataclass(frozen=True)
class Took:
    """Seconds of one answer. None is what wasn't seen."""

    begin: float | None = None  # until the model was on the GPU
    prefill: float | None = None  # until the first token
    decode: float | None = None  # from the first token to the last


def computed(model: ModelCost, card: Card, amount: Amount) -> Took:
    """What the coefficients say, without margin and corrections."""
    products = amount.prompt_tokens * model.token_flops + amount.visual_tokens * model.visual_flops
    context = amount.prompt_tokens + amount.new_tokens / 2
    reading = (model.step_bytes + context * model.kv_bytes) / (card.bandwidth * READ)
    return Took(
        begin=BEGIN + model.bytes / MOVED,
        prefill=FIRST + products / (card.flops * MULTIPLIED),
        decode=amount.new_tokens * (max(reading, model.layers * LAYER) + STEP),
    )


class GpuTime:
    """Expects, and learns. From any thread."""

    def __init__(self, model: ModelCost, card: Card) -> None:
        self._model, self._card = model, card
        self._lock = threading.Lock()
        self._slower = {"begin": 1.0, "prefill": 1.0, "decode": 1.0}  # than computed, by so many times

    def seconds(self, amount: Amount) -> int:
        """To ask for."""
        parts = computed(self._model, self._card, amount)
        with self._lock:
            expected = sum(float(getattr(parts, name)) * slower for name, slower in self._slower.items())
        return min(max(math.ceil(MARGIN * expected), LEAST), self._card.most)

    def took(self, amount: Amount, took: Took) -> None:
        """An answer of this amount took so long. A correction goes up at once, and down slowly."""
        parts = computed(self._model, self._card, amount)
        with self._lock:
            for name, slower in self._slower.items():
                measured = getattr(took, name)
                if measured is None or (name == "decode" and amount.new_tokens < TELLING):
                    continue
                now = measured / max(getattr(parts, name), 1e-9)
                self._correct(name, now if now > slower else slower + FORGET * (now - slower))

    def ran_out(self) -> None:
        """An answer had too little time, and nothing tells how much it wanted."""
        with self._lock:
            for name, slower in self._slower.items():
                self._correct(name, slower * RAN_OUT)

    def _correct(self, name: str, slower: float) -> None:
        self._slower[name] = min(max(slower, FASTEST), SLOWEST)
