"""Attention within segments: patches lie in a row, cut into runs, and each run attends within itself.

No mask of patches by patches is ever built. Runs of one length are one batch; runs of several lengths are one call of
variable-length attention on a GPU, and elsewhere a batch for each length. Knows shapes; refuses to know pictures.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ovis_app.models.devices import runs_flash

log = logging.getLogger(__name__)

Varlen = Callable[..., Tensor]

varlen: Varlen | None = None
with suppress(ImportError):  # torch below 2.10
    from torch.nn.attention.varlen import varlen_attn

    varlen = cast(Varlen, varlen_attn)


@dataclass(frozen=True)
class Segments:
    """Lengths of the runs in order. `ends` are 0 and where each run ends, int32; `groups` are the patch indices [runs,
    length] of each length, where there is more than one length."""

    lengths: tuple[int, ...]
    ends: Tensor
    groups: tuple[Tensor, ...]

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Segments:
        ends = torch.tensor([0, *lengths]).cumsum(0)
        by_length: dict[int, list[Tensor]] = defaultdict(list)
        for start, length in zip(ends.tolist(), lengths, strict=False):
            by_length[length].append(torch.arange(start, start + length))
        groups = [torch.stack(group).to(device) for group in by_length.values()] if len(by_length) > 1 else []
        return cls(tuple(lengths), ends.to(device, torch.int32), tuple(groups))


def can_vary(states: Tensor) -> bool:
    """Whether variable-length attention takes `states` [patches, heads, head_dim], in a torch that has it."""
    return runs_flash(states.device, states.dtype) and varies(states.device, states.dtype, states.shape[-1])


@cache
def varies(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether variable-length attention works on a device, tried once: some builds of torch have it by name alone."""
    if varlen is None:
        return False
    states = torch.zeros(2, 1, head_dim, device=device, dtype=dtype)
    ends = torch.arange(3, device=device, dtype=torch.int32)
    try:
        varlen(states, states, states, ends, ends, 1, 1)
    except (RuntimeError, TypeError, ValueError) as error:
        log.info("variable-length attention isn't used for pictures: %s", error)
        return False
    return True


def attend(query: Tensor, key: Tensor, value: Tensor, segments: Segments) -> Tensor:
    """Each run's attention within itself: [patches, heads, head_dim] each and back."""
    if not segments.groups:
        runs = (len(segments.lengths), -1, *query.shape[1:])
        return _batched(query.view(runs), key.view(runs), value.view(runs)).reshape(query.shape)
    if can_vary(query):
        assert varlen is not None
        longest = max(segments.lengths)
        return varlen(query, key, value, segments.ends, segments.ends, longest, longest)
    mixed = torch.empty_like(query)
    for index in segments.groups:
        mixed[index] = _batched(query[index], key[index], value[index])
    return mixed


def _batched(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[runs, length, heads, head_dim] each and back."""
    query, key, value = (states.transpose(1, 2) for states in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
