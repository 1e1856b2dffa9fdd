"""Attention of a batch of chunks over the KV pool in plain torch: any device, sliding windows and soft caps too.

Each chunk by itself: its keys are a view where its blocks are a run, else they are gathered. Knows tensors and spans;
refuses to know sequences, models and schedules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface

from ovis_app.engine.kv_pool import KVPool

NAME = "ovis_blocks"  # among transformers' attentions: no other name may be part of it
# Devices where a mask costs much: with one, and fewer heads of keys than of queries, torch on CUDA writes down all
# scores in float32: 17 GB a layer for 8,192 rows, 16,384 tokens, 32 heads. Flash attention knows this mask by its name.
UNMASKED = ("cuda",)


@dataclass(frozen=True)
class Span:
    """One chunk's rows in the flattened batch, and where its keys are."""

    start: int  # its first row
    rows: int
    context: int  # tokens that its last row sees, itself included
    first: int  # place of its first token in the pool, where its blocks are a run
    blocks: Tensor | None  # [blocks], where they aren't


@dataclass
class AttentionBatch:
    """What a step's attention needs beside queries, keys and values. Masks are made once and serve all layers."""

    pool: KVPool
    slots: Tensor  # [rows], long: where each row's keys and values go
    spans: Sequence[Span]
    _moved: dict[torch.device, tuple[Tensor, Sequence[Tensor | None]]] = field(default_factory=dict)
    _masks: dict[tuple[object, ...], Tensor] = field(default_factory=dict)

    def on(self, device: torch.device) -> tuple[Tensor, Sequence[Tensor | None]]:
        """Slots, and each span's blocks, on a layer's device."""
        if device not in self._moved:
            blocks = [None if span.blocks is None else span.blocks.to(device) for span in self.spans]
            self._moved[device] = (self.slots.to(device), blocks)
        return self._moved[device]

    def mask(self, span: Span, window: int | None, like: Tensor) -> Tensor:
        """[rows, context] to add to scores: 0 where a row may look, -inf where not."""
        key = (span.start, window, like.device, like.dtype)
        if key not in self._masks:
            rows = torch.arange(span.context - span.rows, span.context, device=like.device)[:, None]
            columns = torch.arange(span.context, device=like.device)
            hidden = columns > rows
            if window is not None:
                hidden |= columns <= rows - window
            self._masks[key] = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(
                hidden, -torch.inf
            )
        return self._masks[key]


def attend(
    batch: AttentionBatch,
    layer: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scaling: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Writes `key` and `value` [heads of keys, rows, size] into the pool, then attends: [rows, heads, size] from
    `query` [heads, rows, size]. A row sees its sequence up to itself, with `window` that many tokens at most."""
    slots, blocks = batch.on(query.device)
    pool = batch.pool
    pool.write(layer, slots, key, value)
    out = query.new_empty(query.shape[1], query.shape[0], query.shape[2])
    for span, its_blocks in zip(batch.spans, blocks, strict=True):
        if its_blocks is None:
            end = span.first + span.context
            keys, values = pool.keys[layer][:, span.first : end], pool.values[layer][:, span.first : end]
        else:
            keys, values = pool.gathered(layer, its_blocks)
            keys, values = keys[:, : span.context], values[:, : span.context]
        rows = slice(span.start, span.start + span.rows)
        one = _one_row if span.rows == 1 else _chunk
        out[rows] = one(batch, span, query[:, rows], keys, values, scaling, window, softcap)
    return out


def attend_rows(
    batch: AttentionBatch, layer: int, query: Tensor, key: Tensor, value: Tensor, *, scaling: float
) -> Tensor:
    """`attend` for the decode step, in fewer calls where each chunk is one row: [rows, heads times size] from `query`
    [rows, heads, size], `key` and `value` [rows, heads of keys, size]."""
    rows = query.shape[0]
    if len(batch.spans) < rows:  # there are drafts
        turned = (query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1))
        return attend(batch, layer, *turned, scaling=scaling).reshape(rows, -1)
    slots, blocks = batch.on(query.device)
    pool = batch.pool
    pool.write(layer, slots, key.transpose(0, 1), value.transpose(0, 1))
    groups = key.shape[1]
    grouped = query.view(rows, groups, -1, query.shape[2]).split(1)
    all_keys, all_values = pool.keys[layer][None], pool.values[layer][None]
    out = []
    for one, span, its_blocks in zip(grouped, batch.spans, blocks, strict=True):
        if its_blocks is None:
            keys = all_keys.narrow(2, span.first, span.context)
            values = all_values.narrow(2, span.first, span.context)
        else:
            gathered = pool.gathered(layer, its_blocks)
            keys, values = (part[None, :, : span.context] for part in gathered)
        out.append(F.scaled_dot_product_attention(one, keys, values, scale=scaling))
    return (out[0] if rows == 1 else torch.cat(out)).reshape(rows, -1)


def _one_row(
    batch: AttentionBatch, span: Span, query: Tensor, keys: Tensor, values: Tensor, scaling: float,
    window: int | None, softcap: float | None,
) -> Tensor:  # fmt: skip
    """[1, heads, size]: one row sees all of its window, so that the heads of a group go as rows, without a mask."""
    if window is not None and span.context > window:
        keys, values = keys[:, -window:], values[:, -window:]
    groups = len(keys)
    grouped = query.reshape(groups, -1, query.shape[-1])
    if softcap is None:
        out = F.scaled_dot_product_attention(grouped[None], keys[None], values[None], scale=scaling)[0]
    else:
        out = _capped(grouped, keys, values, scaling, softcap, None)
    return out.reshape(1, len(query), -1)


def _chunk(
    batch: AttentionBatch, span: Span, query: Tensor, keys: Tensor, values: Tensor, scaling: float,
    window: int | None, softcap: float | None,
) -> Tensor:  # fmt: skip
    """[rows, heads, size]."""
    causal = window is None or span.context <= window
    whole = causal and span.context == span.rows
    if softcap is not None:
        repeated = [one.repeat_interleave(len(query) // len(one), dim=0) for one in (keys, values)]
        seen = batch.mask(span, window, query)
        return _capped(query, repeated[0], repeated[1], scaling, softcap, seen).transpose(0, 1)
    mask: Tensor | None = None
    if not whole:
        unmasked = causal and query.device.type in UNMASKED
        mask = causal_lower_right(span.rows, span.context) if unmasked else batch.mask(span, window, query)
    out = F.scaled_dot_product_attention(
        query[None], keys[None], values[None], scale=scaling, enable_gqa=len(query) != len(keys), is_causal=whole,
        attn_mask=mask,
    )[0]  # fmt: skip
    return out.transpose(0, 1)


def _capped(query: Tensor, keys: Tensor, values: Tensor, scaling: float, softcap: float, mask: Tensor | None) -> Tensor:
    """Attention whose scores are softly capped before the softmax, as Gemma 2's (https://arxiv.org/abs/2408.00118)."""
    scores = torch.tanh(query @ keys.transpose(1, 2) * (scaling / softcap)) * softcap
    if mask is not None:
        scores = scores + mask
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype) @ values


def from_modules(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    blocks: AttentionBatch,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """What transformers' attention modules call, with one row of all chunks: `query` [1, heads, rows, size]."""
    layer: int = module.layer_idx  # type: ignore[assignment]
    out = attend(
        blocks, layer, query[0], key[0], value[0], scaling=scaling, window=sliding_window, softcap=softcap
    )  # fmt: skip
    return out[None], None


AttentionInterface.register(NAME, from_modules)
