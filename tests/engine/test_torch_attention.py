"""Attention over blocks is attention over the tokens that stand in them, wherever the blocks are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM as Models
from transformers import LlamaConfig

from ovis_app.engine.attention import torch_attention
from ovis_app.engine.attention.torch_attention import AttentionBatch, Span, attend, attend_rows
from ovis_app.engine.kv_pool import KVPool

HEADS, GROUPS, SIZE, BLOCKS = 4, 2, 8, 48


def pool(block_size: int) -> KVPool:
    config = LlamaConfig(
        vocab_size=8, hidden_size=HEADS * SIZE, intermediate_size=8, num_hidden_layers=1, num_attention_heads=HEADS,
        num_key_value_heads=GROUPS, head_dim=SIZE,
    )  # fmt: skip
    made = KVPool(Models.from_config(config), BLOCKS, block_size)
    for tensor in (*made.keys, *made.values):
        tensor.fill_(1e4)  # what nobody wrote must reach nobody
    return made


def by_the_book(
    query: Tensor, keys: Tensor, values: Tensor, scaling: float, window: int | None, softcap: float | None
) -> Tensor:
    """[rows, heads, size]: the last rows of one sequence, one row at a time."""
    rows, context = query.shape[1], keys.shape[1]
    found = torch.empty(rows, HEADS, SIZE)
    for row in range(rows):
        end = context - rows + row + 1
        begin = 0 if window is None else max(end - window, 0)
        for head in range(HEADS):
            group = head // (HEADS // GROUPS)
            scores = keys[group, begin:end] @ query[head, row] * scaling
            if softcap is not None:
                scores = (scores / softcap).tanh() * softcap
            found[row, head] = scores.softmax(0) @ values[group, begin:end]
    return found


@st.composite
def chunks(draw: st.DrawFn) -> list[tuple[int, int, bool]]:
    """Rows, tokens before them, and whether the blocks are a run. Often all decode."""
    most = draw(st.sampled_from([1, 9]))
    return draw(st.lists(st.tuples(st.integers(1, most), st.integers(0, 20), st.booleans()), min_size=1, max_size=4))


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(
    batch=chunks(),
    block_size=st.sampled_from([1, 4, 16]),
    window=st.sampled_from([None, 1, 3, 8, 64]),
    softcap=st.sampled_from([None, 2.0]),
    seed=st.integers(0, 99),
    unmasked=st.sampled_from([("cuda",), ("cpu",)]),
)
def test_each_row_sees_its_own_sequence_up_to_itself(
    batch: list[tuple[int, int, bool]], block_size: int, window: int | None, softcap: float | None, seed: int,
    unmasked: tuple[str, ...],
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    kept = pool(block_size)
    order = torch.randperm(BLOCKS, generator=generator).tolist()
    spans, slots, expected = list[Span](), list[int](), list[Tensor]()
    queries, news, new_values = list[Tensor](), list[Tensor](), list[Tensor]()
    free = list(range(BLOCKS))
    for rows, before, run in batch:
        context = before + rows
        count = -(-context // block_size)
        if count > len(free):
            break
        # A run from the lowest that are free, or blocks from anywhere.
        table = free[:count] if run else [block for block in order if block in free][:count]
        free = [block for block in free if block not in table]
        places = [table[place // block_size] * block_size + place % block_size for place in range(context)]
        query, keys, values = random(HEADS, rows, SIZE), random(GROUPS, context, SIZE), random(GROUPS, context, SIZE)
        kept.write(0, torch.tensor(places[:before], dtype=torch.long), keys[:, :before], values[:, :before])
        is_run = table == list(range(table[0], table[0] + count))
        spans.append(
            Span(len(slots), rows, context, table[0] * block_size, None if is_run else torch.tensor(table))
        )  # fmt: skip
        slots += places[before:]
        queries.append(query)
        news.append(keys[:, before:])
        new_values.append(values[:, before:])
        expected.append(by_the_book(query, keys, values, 0.3, window, softcap))
    if not spans:
        return
    together = AttentionBatch(kept, torch.tensor(slots), spans)
    query, key, value = (torch.cat(parts, 1) for parts in (queries, news, new_values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_attention, "UNMASKED", unmasked)
        found = attend(together, 0, query, key, value, scaling=0.3, window=window, softcap=softcap)
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-5)
    if window is None and softcap is None:
        by_rows = (part.transpose(0, 1).contiguous() for part in (query, key, value))
        rows_alone = attend_rows(together, 0, *by_rows, scaling=0.3)
        torch.testing.assert_close(rows_alone, torch.cat(expected).flatten(1), atol=1e-5, rtol=1e-5)
