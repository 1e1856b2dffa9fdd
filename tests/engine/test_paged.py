"""Attention over pages by torch's variable-length attention, which stands here as its documentation says it is: a CPU
has none. On a GPU the real one is tried."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from ovis_app.engine import paged, pages
from ovis_app.engine.paged import VARLEN, Means, Some, means, right, tried
from ovis_app.engine.pages import Manager, bytes_of_a_token
from ovis_app.models import devices
from tests.engine.crowd import FAMILIES, engine, random_load
from tests.engine.prompts import tiny

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = Some(torch.device("cpu"), torch.float32, heads=4, groups=2, size=16)


def by_the_book(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    seqused_k: Tensor | None = None,
    block_table: Tensor | None = None,
) -> Tensor:
    """torch.nn.attention.varlen.varlen_attn, a request at a time. What no request asks for is left unset, as there."""
    assert enable_gqa and cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    found = torch.full_like(query, torch.nan)
    for number in range(len(cu_seq_q) - 1):
        mine = slice(int(cu_seq_q[number]), int(cu_seq_q[number + 1]))
        assert mine.stop - mine.start <= max_q
        if block_table is None:
            own = slice(int(cu_seq_k[number]), int(cu_seq_k[number + 1]))
            keys, values = key[own], value[own]
        else:
            assert seqused_k is not None and block_table.dtype == seqused_k.dtype == torch.int32
            count = int(seqused_k[number])
            row = block_table[number, : -(-count // key.shape[1])].long()
            assert bool((row >= 0).all()), "a page that nobody gave"
            keys, values = (held[row].flatten(0, 1)[:count] for held in (key, value))
        assert len(keys) <= max_k
        if not len(keys):
            continue
        states = (one.transpose(0, 1)[None] for one in (query[mine], keys, values))
        news = mine.stop - mine.start
        mask = torch.ones(news, len(keys), dtype=torch.bool)
        if window_size == (-1, 0):
            mask = mask.tril(len(keys) - news)
        attended = torch.nn.functional.scaled_dot_product_attention(*states, mask, scale=scale, enable_gqa=True)
        found[mine] = attended[0].transpose(0, 1)
    return found


@pytest.fixture
def booked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(paged, "varlen", by_the_book)
    tried.cache_clear()
    yield
    tried.cache_clear()


@pytest.mark.usefixtures("booked")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("in_place", [False, True])
def test_any_mix_of_requests_is_answered_as_alone(monkeypatch: pytest.MonkeyPatch, family: str, in_place: bool) -> None:
    monkeypatch.setattr(pages, "means", lambda llm: Means(VARLEN, in_place=in_place))
    load = random_load(family, random.Random(family), 8)
    expected = [tiny(family).solo(written, settings) for written, settings, _ in load]
    ways = set()
    with engine(family) as many:
        whole = Manager._generation_step

        def watched(self: Manager) -> None:
            whole(self)
            ways.add(self.batch_processor.inputs_and_outputs.use_block_table)

        monkeypatch.setattr(Manager, "_generation_step", watched)
        for _ in range(2):
            with ThreadPoolExecutor(len(load)) as threads:
                asked = [threads.submit(many.generate, written, settings) for written, settings, _ in load]
                assert [answer.result().tolist() for answer in asked] == expected
    assert ways == {False, in_place}


@pytest.mark.usefixtures("booked")
def test_a_request_that_only_fills_the_batch_touches_nobody() -> None:
    found, expected = CPU.in_place()
    torch.testing.assert_close(found, expected)


def off_by_one(whole: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def attention(*states: Any, **how: Any) -> Tensor:
        if how.get("seqused_k") is not None:
            how["seqused_k"] = (how["seqused_k"] - 1).clamp(min=0)
        return whole(*states, **how)

    return attention


def without_pages(*states: Any, **how: Any) -> Tensor:
    if "block_table" in how:
        raise RuntimeError("block_table isn't supported by this build")
    return by_the_book(*states, **how)


def without_causality(*states: Any, **how: Any) -> Tensor:
    return by_the_book(*states, **{**how, "window_size": (-1, -1)})


def too_old(query: Tensor, key: Tensor, value: Tensor, *lengths: Any) -> Tensor:
    raise AssertionError("its arguments don't fit")


@pytest.mark.parametrize(
    ("attention", "found"),
    [
        (by_the_book, Means(VARLEN, in_place=True)),
        (off_by_one(by_the_book), Means(VARLEN)),
        (without_pages, Means(VARLEN)),
        (without_causality, Means(None)),
        (too_old, Means(None)),
        (None, Means(None)),
    ],
)
@pytest.mark.usefixtures("booked")
def test_only_what_is_right_here_is_used(
    monkeypatch: pytest.MonkeyPatch, attention: Callable[..., Tensor] | None, found: Means
) -> None:
    monkeypatch.setattr(paged, "varlen", attention)
    assert tried(CPU.device, CPU.dtype, CPU.heads, CPU.groups, CPU.size) == found


@pytest.mark.usefixtures("booked")
def test_the_best_that_is_here_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = tiny("ovis2.5").model.llm
    assert means(llm) == Means("ovis_segments")
    monkeypatch.setattr(type(llm), "device", torch.device("cuda"))
    assert means(llm) == Means(None), "float32 has no flash attention"
    masked = bytes_of_a_token(llm, 64)
    monkeypatch.setattr(paged, "runs_flash", lambda device, dtype: True)
    for version in (2, 3):
        monkeypatch.setattr(paged, f"is_flash_attn_{version}_available", lambda: True)
        assert means(llm) == Means(f"flash_attention_{version}", graphs=True, in_place=True)
    assert bytes_of_a_token(llm, 64) == masked - 64 * llm.dtype.itemsize, "no mask"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("size", [64, 128])
def test_this_gpu_reads_pages_in_place(size: int) -> None:
    """What no other machine can tell: whether torch's own kernel takes pages."""
    device = torch.device("cuda")
    if not devices.runs_flash(device, torch.bfloat16):
        pytest.skip("needs an Ampere GPU or a newer one")
    assert right(Some(device, torch.bfloat16, 32, 8, size).along)
    assert right(Some(device, torch.bfloat16, 32, 8, size).in_place)
