"""Token after token out of a Decoder, with a GPU that never waits for the host.

Each token's id stays on the device, where the next step reads it; its copy reaches the host one step behind, while the
next step runs. So a token more than needed may be computed, and is dropped. Knows rules and ends; refuses to know
models, prompts and settings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessorList
from transformers.generation.streamers import BaseStreamer

from ovis_app.engine.decode import Decoder


@dataclass(frozen=True)
class Prompt:
    """A prompt that was read: what it computed, where attention may look [tokens], and the last logits [1, vocabulary]
    in float32."""

    cache: DynamicCache
    mask: Tensor
    logits: Tensor


class Relay:
    """Carries ids from the device to the host: `post` returns at once, `take` waits for the oldest one posted. Two may
    be under way."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._cuda = device, device.type == "cuda"
        self._free = deque(torch.zeros(1, dtype=torch.long, pin_memory=self._cuda) for _ in range(2))
        self._sent: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()

    def post(self, token: Tensor) -> None:
        slot = self._free.popleft()
        slot.copy_(token, non_blocking=True)
        event = torch.cuda.Event() if self._cuda else None  # type: ignore[no-untyped-call]
        if event is not None:
            event.record(torch.cuda.current_stream(self._device))  # another device may be the current one
        self._sent.append((slot, event))

    def take(self) -> int:
        slot, event = self._sent.popleft()
        if event is not None:
            event.synchronize()
        self._free.append(slot)
        return int(slot)


class Drawn:
    """What was generated so far, on the device: room for `room` ids, `count` of them drawn. The largest score after the
    rules is taken: one that draws says so by its scores."""

    def __init__(self, room: int, rules: LogitsProcessorList, device: torch.device) -> None:
        self._ids = torch.zeros(1, room, dtype=torch.long, device=device)
        self._rules = rules
        self.relay, self.count = Relay(device), 0

    @property
    def ids(self) -> Tensor:
        return self._ids[0, : self.count]

    @property
    def full(self) -> bool:
        return self.count == self._ids.shape[1]

    def draw(self, logits: Tensor) -> None:
        """One more, from logits [1, vocabulary], and on its way to the host."""
        token = self._rules(self._ids[:, : self.count], logits).argmax(-1)  # type: ignore[arg-type]
        self._ids[:, self.count] = token
        self.count += 1
        self.relay.post(token)


def run(
    decoder: Decoder,
    prompt: Prompt,
    drawn: Drawn,
    *,
    over: Callable[[Tensor], bool],
    eos: Sequence[int],
    streamer: BaseStreamer | None = None,
) -> list[int]:
    """New ids after a prompt. `over` is asked before each token, with what was generated so far [tokens].

    The prompt's cache grows by all new tokens but the last, as in `generate`; when this raises it doesn't grow, and
    the decoder is empty either way.
    """
    ids: list[int] = []
    try:
        decoder.load(prompt.cache, prompt.mask)
        drawn.draw(prompt.logits)
        while True:
            ends = drawn.full or over(drawn.ids)
            if not ends:
                drawn.draw(decoder.step(drawn.ids[-1:]))
            ids.append(drawn.relay.take())
            if streamer is not None:
                streamer.put(torch.tensor(ids[-1:]))  # type: ignore[no-untyped-call]
            if ends or ids[-1] in eos:
                break
        decoder.save(prompt.cache, len(prompt.mask) + len(ids) - 1)
    finally:
        decoder.clear()
    if streamer is not None:
        streamer.end()  # type: ignore[no-untyped-call]
    return ids
