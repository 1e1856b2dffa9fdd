"""Attention of a batch of requests on a GPU: which kernels this machine has, and torch's own where flash-attn isn't
installed.

Torch's variable-length attention takes no mask and has the shapes that a CUDA graph can hold, as flash-attn's has.
Whether it works here is tried once, on a few tokens, before anything depends on it. Knows tensors, pages and devices;
refuses to know requests.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, PreTrainedModel
from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

from ovis_app.engine import segments
from ovis_app.engine.decode import recordable
from ovis_app.models.devices import runs_flash
from ovis_app.models.vision.segment_attention import varlen

log = logging.getLogger(__name__)

VARLEN = "ovis_varlen"  # its name among transformers' attentions
CAUSAL = (-1, 0)  # tokens to the left and to the right that a query sees; -1: all
PAGE = 256  # tokens: the pages that flash attention reads in place are multiples of this
CLOSE = 0.03  # how far half precision may be from the plain way


@dataclass(frozen=True)
class Means:
    """How a batch of requests attends. `attention` is its name among transformers' attentions; None is the model's own,
    with a mask of all tokens by all."""

    attention: str | None
    graphs: bool = False  # whether a step can be recorded as a CUDA graph
    in_place: bool = False  # whether a new token reads its request's pages where they are


def means(llm: PreTrainedModel) -> Means:
    """The best that there is for a language model where it lies; nothing is fetched."""
    if llm.device.type != "cuda":
        return Means(segments.SEGMENTS)
    if not runs_flash(llm.device, llm.dtype):
        return Means(None)
    found = installed(llm)
    return replace(found, graphs=found.attention is not None and recordable(llm))


def installed(llm: PreTrainedModel) -> Means:
    """The best of what this environment has, graphs left out."""
    if is_flash_attn_3_available():
        return Means("flash_attention_3", in_place=True)
    if is_flash_attn_2_available():
        return Means("flash_attention_2", in_place=True)
    config = llm.config.get_text_config()
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return tried(llm.device, llm.dtype, config.num_attention_heads, config.num_key_value_heads, size)


@cache
def tried(device: torch.device, dtype: torch.dtype, heads: int, groups: int, size: int) -> Means:
    """What of torch's variable-length attention is right on a device: versions and cards differ in how much of it they
    have. For so many heads on so many groups of keys, of a size."""
    some = Some(device, dtype, heads, groups, size)
    if varlen is None or not right(some.along):
        return Means(None)
    return Means(VARLEN, in_place=right(some.in_place))


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    cache: Any = None,
    pages: Any,
    **where: Any,
) -> tuple[Tensor, None]:
    """[1, tokens, heads, size] from `query` [1, heads, tokens, size] and the requests' `key` and `value` [1, groups,
    tokens, size], which are the new ones only where `pages` are read in place; `where` says where each begins among
    queries and keys. Up to transformers 5.23 `cache` does what its attention modules have done since 5.24."""
    if cache is not None:
        key, value = cache.update(key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=where)
    query, key, value = (states[0].transpose(0, 1) for states in (query, key, value))
    ends = where["cu_seq_lens_q"], where["cu_seq_lens_k"]
    if where["block_table"] is None:
        longest = where["max_length_q"], where["max_length_k"]
        return along(query, key, value, ends, longest, scaling).unsqueeze(0), None
    held = where["k_cache"], where["v_cache"]
    if module.layer_idx == 0:  # the same for all layers, and as many kernels as the rest of one
        trash = pages.layer_to_allocator[0].write_trash_index
        pages.newest = Newest.of(ends[1], where["block_table"], held[0].shape[1], trash)
    return in_place(query, key, value, held, where["block_table"], pages.newest, scaling).unsqueeze(0), None


def hand_on(llm: PreTrainedModel) -> RemovableHandle:
    """`attend` gets the pages under this name too: since transformers 5.24 attention modules keep `cache` to
    themselves. Until the handle is removed."""
    return llm.register_forward_pre_hook(
        lambda module, args, named: (args, {**named, "pages": named.get("cache")}), with_kwargs=True
    )


def along(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ends: tuple[Tensor, Tensor],
    longest: tuple[int, int],
    scaling: float | None,
) -> Tensor:
    """[queries, heads, size] from queries, keys and values [tokens, heads, size] of requests in a row. `ends` are 0 and
    where each request ends, among queries and keys; a request's queries are the last of its keys."""
    assert varlen is not None
    return varlen(query, key, value, *ends, *longest, scale=scaling, window_size=CAUSAL, enable_gqa=True)


@dataclass(frozen=True)
class Newest:
    """One new token of each request: how many tokens the request has with it, and where in the pages it goes."""

    ends: Tensor  # 0 and where each request ends, among keys
    steps: Tensor  # the same among queries, of which each has one
    lengths: Tensor  # [requests]
    places: Tensor  # [requests], long

    @classmethod
    def of(cls, ends: Tensor, table: Tensor, page: int, trash: int) -> Newest:
        """From `ends` among keys and a `table` [requests, pages at most] of pages of `page` tokens. A request without
        keys only fills the batch: what it says goes to the token `trash`."""
        lengths = ends.diff()
        last = (lengths - 1).clamp(min=0)
        held = table.gather(1, (last // page)[:, None].long())[:, 0]
        places = torch.where(lengths > 0, held * page + last % page, trash).long()
        return cls(ends, torch.arange(len(ends), dtype=torch.int32, device=ends.device), lengths, places)


def in_place(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pages: tuple[Tensor, Tensor],
    table: Tensor,
    newest: Newest,
    scaling: float | None,
) -> Tensor:
    """[requests, heads, size] from one new query, key and value of each request [requests, heads, size]. `pages` of
    keys and of values [pages, tokens, groups, size] are written to and read through `table`."""
    assert varlen is not None
    keys, values = pages
    keys.flatten(0, 1).index_copy_(0, newest.places, key)
    values.flatten(0, 1).index_copy_(0, newest.places, value)
    return varlen(
        query, keys, values, newest.steps, newest.ends, 1, table.shape[1] * keys.shape[1],
        scale=scaling, enable_gqa=True, seqused_k=newest.lengths, block_table=table,
    )  # fmt: skip


@dataclass(frozen=True)
class Some:
    """A few requests of uneven lengths, to try the two ways with: each gives what it found and what is right."""

    device: torch.device
    dtype: torch.dtype
    heads: int
    groups: int
    size: int

    def along(self) -> tuple[Tensor, Tensor]:
        """One new token behind others, a whole prompt, the end of a prompt."""
        news, lengths = (1, 300, 40), (600, 300, 301)
        key, value = self.keys(sum(lengths))
        query = self.queries(torch.cat([own[-new:] for own, new in zip(key.split(lengths), news, strict=True)]))
        parts = zip(query.split(news), key.split(lengths), value.split(lengths), strict=True)
        ends = tuple(self.integers([0, *counts]).cumsum(0).int() for counts in (news, lengths))
        found = along(query, key, value, (ends[0], ends[1]), (max(news), max(lengths)), None)
        return found, torch.cat([plain(*part) for part in parts])

    def in_place(self) -> tuple[Tensor, Tensor]:
        """Two requests over pages that aren't in order, and one that only fills the batch."""
        lengths, table = (2 * PAGE + 9, 300, 0), self.integers([[5, 2, 4], [1, 3, -1], [-1, -1, -1]])
        pages = tuple(one.unflatten(0, (6, PAGE)) for one in self.keys(6 * PAGE))
        key, value = self.keys(len(lengths))
        query = self.queries(key)
        ends = self.integers([0, *lengths]).cumsum(0).int()
        newest = Newest.of(ends, table, PAGE, trash=0)
        found = in_place(query, key, value, (pages[0], pages[1]), table, newest, None)
        own = [[held[row].flatten(0, 1)[:length] for held in pages] for row, length in zip(table, lengths, strict=True)]
        return found[:2], torch.cat([plain(query[n : n + 1], *own[n]) for n in range(2)])

    def queries(self, newest: Tensor) -> Tensor:
        """One for each of the keys `newest` [tokens, groups, size], that of its own token: in the first head it looks
        at that one, in the others at few of all, so that no wrong key goes unseen among hundreds."""
        found = 3 * self.states(len(newest), self.heads)
        found[:, 0] = 2 * newest[:, 0]
        return found

    def keys(self, tokens: int) -> tuple[Tensor, Tensor]:
        return self.states(tokens, self.groups), self.states(tokens, self.groups)

    def states(self, tokens: int, heads: int) -> Tensor:
        return torch.randn(tokens, heads, self.size, device=self.device, dtype=self.dtype)

    def integers(self, numbers: list[Any]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int32, device=self.device)


def right(way: Callable[[], tuple[Tensor, Tensor]]) -> bool:
    """Whether a way works at all, and gives what is right."""
    try:
        found, expected = way()
    except (RuntimeError, TypeError, ValueError) as error:
        log.info("variable-length attention isn't used: %s", error)
        return False
    return torch.allclose(found.float(), expected, atol=CLOSE, rtol=CLOSE)


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One request's attention in float32: [queries, heads, size], the queries the last of the keys."""
    batched = (states.transpose(0, 1)[None].float() for states in (query, key, value))
    return segments.one(*batched, None)[0].transpose(0, 1)


AttentionInterface.register(VARLEN, attend)
