"""Attention of a batch of requests without a mask of all by all: each request's queries see its own keys alone.

For processors, where transformers' own way computes every request's scores over every other's keys and hides them.
Knows tensors and where requests begin and end; refuses to know pages.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

SEGMENTS = "ovis_segments"  # its name among transformers' attentions


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    cache: Any = None,
    **where: Any,
) -> tuple[Tensor, None]:
    """[1, tokens, heads, size] from `query` [1, heads, tokens, size] and the requests' `key` and `value` [1, groups,
    tokens, size]; `where` says where each begins among queries and keys. Up to transformers 5.23 key and value are the
    new ones only, and `cache` adds what the pages hold; since 5.24 its attention modules have done that."""
    if cache is not None:
        key, value = cache.update(key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=where)
    attended = torch.empty_like(query)
    queries, keys = (pairwise(where[name].tolist()) for name in ("cu_seq_lens_q", "cu_seq_lens_k"))
    for (first, end), (first_key, end_key) in zip(queries, keys, strict=True):
        own = slice(first_key, end_key)
        attended[:, :, first:end] = one(query[:, :, first:end], key[:, :, own], value[:, :, own], scaling)
    return attended.transpose(1, 2).contiguous(), None


def one(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """One request's attention, [1, heads, tokens, size]; its queries are the last of its keys."""
    tokens, length = query.shape[2], key.shape[2]
    if tokens == 1:  # the heads of a group are queries on one set of keys: nothing is repeated
        grouped = query.reshape(1, key.shape[1], -1, query.shape[3])
        return F.scaled_dot_product_attention(grouped, key, value, scale=scaling).reshape(query.shape)
    whole = tokens == length
    mask = None if whole else torch.ones(tokens, length, dtype=torch.bool, device=query.device).tril(length - tokens)
    return F.scaled_dot_product_attention(query, key, value, mask, is_causal=whole, scale=scaling, enable_gqa=True)


AttentionInterface.register(SEGMENTS, attend)
