"""A question on its way to a process that has a GPU: all that needs none is done, the rest is pickled.

Tensors cross as their bytes: shared memory would have to outlive one side or the other. Knows media and prompts;
refuses to know who forks, and how an answer is made.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovis_app.backend import Weight
from ovis_app.backends.gpu_time import Amount
from ovis_app.backends.local import gpu_placed
from ovis_app.backends.local.media_encoder import DecodedMedia, MediaEncoder, Note, content_name
from ovis_app.backends.local.model_pool import LoadedModel
from ovis_app.backends.local.prompt_builder import PreparedRequest, PromptBuilder
from ovis_app.engine.encoder_cache import EncodedMedia, EncodedPart
from ovis_app.generation import Request
from ovis_app.limits import Limits
from ovis_app.models.preprocess.values import Pixels
from ovis_app.stop import Stop


@dataclass(frozen=True)
class GpuCall:
    """What a forked process is called with."""

    seconds: int  # of the GPU
    work: bytes  # a pickled Work


@dataclass(frozen=True)
class Work:
    """A prompt without visual embeddings, and what they are to be made of."""

    prepared: PreparedRequest
    pixels: tuple[Pixels, ...]  # each picture once, in the model's precision
    order: tuple[int, ...]  # which of them stand in the prompt, one after another
    started: float  # time.monotonic() at which the question came; one clock for all processes

    @property
    def amount(self) -> Amount:
        prompt, settings, budget = self.prepared.prompt, self.prepared.settings, self.prepared.budget
        most = settings.max_new_tokens
        if budget is not None:
            most = budget.longest(most, prompt.begun)
        return Amount(len(prompt.ids), prompt.visual_tokens, most)


class MediaDecoder(MediaEncoder):
    """Decodes a conversation's media and leaves them to be encoded elsewhere. For one request."""

    def __init__(self, loaded: LoadedModel, limits: Limits) -> None:
        super().__init__(loaded, limits, cache_bytes=0)
        self.pixels: dict[int, Pixels] = {}  # by content name

    def _encode(self, decoded: Sequence[DecodedMedia], note: Note, stop: Stop) -> dict[str, EncodedMedia]:
        """What a MediaEncoder gives, with embeddings that have no width."""
        encoded = {}
        for one in decoded:
            names = [content_name(one.key, number) for number in range(len(one.parts))]
            self.pixels |= dict(zip(names, one.parts, strict=True))
            encoded[one.key] = one.encoded(
                [
                    EncodedPart(part.ids, torch.empty(part.tokens, 0), name)
                    for part, name in zip(one.parts, names, strict=True)
                ]
            )
            self.cache.put(one.key, encoded[one.key])  # for when the oldest turns are left out; it takes no bytes
        return encoded


def prepared_work(request: Request, *, note: Note, stop: Stop, started: float) -> Work:
    """Everything that needs no GPU: media decoded and resized, the prompt written, what doesn't fit refused. Raises
    BackendError, MediaError, and Stopped once `stop` is set."""
    placed = gpu_placed.here()
    decoder = MediaDecoder(placed.loaded, placed.limits)
    prepared = PromptBuilder(placed.loaded, decoder).prepare(
        request.conversation, request.settings, note=note, stop=stop
    )
    numbers: dict[int, int] = {}
    dtype, order, left = placed.loaded.model.dtype, [], 0
    for key in prepared.prompt.keys:
        part = decoder.pixels.get(key)
        if part is None:
            continue
        if not left:  # another picture begins
            order.append(numbers.setdefault(key, len(numbers)))
            left = part.tokens
        left -= 1
    pixels = [decoder.pixels[key] for key in numbers]
    prompt = replace(prepared.prompt, visual=None)
    return Work(
        replace(prepared, prompt=prompt, id=request.id),
        tuple(replace(part, values=part.values.to(dtype)) for part in pixels),
        tuple(order),
        started,
    )


def prompt_tokens(request: Request, *, stop: Stop) -> int:
    """Tokens of a request's prompt. Raises BackendError, MediaError, and Stopped once `stop` is set."""
    placed = gpu_placed.here()
    builder = PromptBuilder(placed.loaded, MediaDecoder(placed.loaded, placed.limits))
    return builder.count(request.conversation, request.settings, stop=stop)


def weight(request: Request, *, stop: Stop) -> Weight:
    """What a request would take; see `backend.Weighs`. Raises BackendError, and Stopped once `stop` is set."""
    placed = gpu_placed.here()
    builder = PromptBuilder(placed.loaded, MediaDecoder(placed.loaded, placed.limits))
    return builder.weigh(request.conversation, request.settings, stop=stop)


class _Pickler(pickle.Pickler):
    """Writes a tensor's numbers with it."""

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, Tensor):
            numbers = value.detach().contiguous().view(torch.uint8) if value.numel() else value.to(torch.uint8)
            return _tensor, (numbers.numpy(), str(value.dtype).removeprefix("torch."), tuple(value.shape))
        return NotImplemented


def _tensor(numbers: np.ndarray[Any, np.dtype[np.uint8]], dtype: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(numbers).view(getattr(torch, dtype)).view(shape)


def packed(work: Work) -> bytes:
    """A Work as it crosses."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=5).dump(work)
    return stream.getvalue()
