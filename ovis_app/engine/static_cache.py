"""Keys and values of one conversation in buffers that never move, and the attention of one new token to them.

What a recorded CUDA graph reads must stay where it was. Knows buffers and one token's attention; refuses to know
models, prompts and graphs. Between two conversations the buffers hold zeros: `load` fills, `clear` empties.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

CHUNK = 128  # tokens: one matrix product each, so that a long conversation keeps a whole GPU busy
NAME = "ovis_static"  # of `attend` among transformers' attention functions
# What language models call the cache that they take. transformers 5.24 renamed it.
CACHE = "cache" if any(field.name == "cache" for field in fields(CausalLMOutputWithPast)) else "past_key_values"


@dataclass(frozen=True)
class CacheShape:
    """What one layer keeps of a token, and of how many layers."""

    layers: int
    heads: int  # key-value heads
    head_dim: int
    dtype: torch.dtype

    @property
    def token_bytes(self) -> int:
        """Bytes of keys and values that one token takes in all layers."""
        return 2 * self.layers * self.heads * self.head_dim * self.dtype.itemsize


class StaticCache:
    """Room for `tokens` tokens of one conversation. A language model takes it as its `CACHE` for one new token, which
    is written at `place`; `mask` says which tokens it may look at."""

    def __init__(self, shape: CacheShape, tokens: int, device: torch.device) -> None:
        self.shape, self.chunks, self.device = shape, -(-tokens // CHUNK), device
        size = (self.chunks, shape.heads, CHUNK, shape.head_dim)
        self.keys = [torch.zeros(size, dtype=shape.dtype, device=device) for _ in range(shape.layers)]
        self.values = [torch.zeros(size, dtype=shape.dtype, device=device) for _ in range(shape.layers)]
        self.mask = torch.full((self.chunks, 1, 1, CHUNK), -torch.inf, device=device)  # added to scores, float32
        self.place = torch.zeros(1, dtype=torch.long, device=device)

    @property
    def capacity(self) -> int:
        return self.chunks * CHUNK

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Writes one token's keys and values [1, heads, 1, head_dim] of a layer; returns all, [chunks, heads, CHUNK,
        head_dim] each. transformers' own name and arguments, for its attention modules."""
        chunk, offset = self.place // CHUNK, self.place % CHUNK
        self.keys[layer][chunk, :, offset] = keys[:, :, 0]
        self.values[layer][chunk, :, offset] = values[:, :, 0]
        return self.keys[layer], self.values[layer]

    def load(self, cache: DynamicCache, mask: Tensor) -> None:
        """Takes over a prompt's cache; `mask` [tokens] is 0 where attention must not look."""
        tokens = len(mask)
        full = -(-tokens // CHUNK)
        for buffers, name in ((self.keys, "keys"), (self.values, "values")):
            for buffer, layer in zip(buffers, cache.layers, strict=True):
                padded = F.pad(getattr(layer, name)[0], (0, 0, 0, full * CHUNK - tokens))  # [heads, tokens, head_dim]
                buffer[:full] = padded.view(len(padded), full, CHUNK, -1).transpose(0, 1)
        self.mask.view(-1)[:tokens] = torch.where(mask.to(self.device) == 0, -torch.inf, 0.0)
        self.place.fill_(tokens)

    def save(self, cache: DynamicCache, tokens: int) -> None:
        """Grows the prompt's `cache` to `tokens` tokens by what was computed here since `load`."""
        start = cache.get_seq_length()
        first, last = start // CHUNK, -(-tokens // CHUNK)
        if tokens <= start:
            return
        for number, layer in enumerate(cache.layers):
            for buffers, name in ((self.keys, "keys"), (self.values, "values")):
                computed = buffers[number][first:last].transpose(0, 1).flatten(1, 2)
                new = computed[None, :, start - first * CHUNK : tokens - first * CHUNK]
                setattr(layer, name, torch.cat((getattr(layer, name), new), dim=-2))

    def clear(self, tokens: int) -> None:
        """Zeros in the first `tokens` places again: a hidden value that isn't finite would spoil the next answer."""
        chunks = -(-tokens // CHUNK)
        for buffer in (*self.keys, *self.values):
            buffer[:chunks].zero_()
        self.mask.fill_(-torch.inf)
        self.place.zero_()


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Batched matrix product in float32, from numbers of either precision."""
    if left.is_cuda and left.dtype != torch.float32:
        return torch.bmm(left, right, out_dtype=torch.float32)
    return torch.bmm(left.float(), right.float())


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    **_: object,
) -> tuple[Tensor, None]:
    """One token's attention, [1, heads, 1, head_dim] to [1, 1, heads, head_dim], over a StaticCache's buffers.

    A group's query heads read their keys once, and the chunks are separate products, which is what keeps all of a GPU
    reading at once (the split of flash-decoding). `attention_mask` [chunks, 1, 1, CHUNK] says how many chunks count.
    """
    chunks, groups, size = attention_mask.shape[0], key.shape[1], query.shape[-1]
    folded = query.view(1, groups, -1, size).expand(chunks, -1, -1, -1).flatten(0, 1)  # [chunks * groups, heads, d]
    keys, values = key[:chunks].flatten(0, 1), value[:chunks].flatten(0, 1)  # [chunks * groups, CHUNK, d]
    scores = _product(folded, keys.transpose(1, 2)).view(chunks, groups, -1, CHUNK) * scaling + attention_mask
    together = scores.permute(1, 2, 0, 3).flatten(2)  # [groups, heads each, chunks * CHUNK]
    weights = together.softmax(-1).view(groups, -1, chunks, CHUNK).permute(2, 0, 1, 3).flatten(0, 1)
    mixed = _product(weights.to(value.dtype), values).view(chunks, groups, -1, size).sum(0)
    return mixed.to(query.dtype).view(1, 1, -1, size), None


AttentionInterface.register(NAME, attend)
