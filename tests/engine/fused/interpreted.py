"""Kernels and the whole fused step in Triton's interpreter, which is switched on before they are imported.

So this runs in a process of its own, from `test_interpreted.py` or `make test-kernels`. bfloat16 is the interpreter's
weak point: there it says little about rounding.
"""

from __future__ import annotations

import logging
import math
import os
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("TRITON_INTERPRET=1 has to be said", allow_module_level=True)

from ovis_app.engine.attention.torch_attention import AttentionBatch, Span
from ovis_app.engine.decode_step import DecodeStep
from ovis_app.engine.fused import attention_kernels, fused_step
from ovis_app.engine.fused import triton_kernels as kernels
from ovis_app.engine.fused.chunk_places import TILE_ROWS, ChunkPlaces
from ovis_app.engine.fused.fused_step import FusedStep
from ovis_app.engine.fused.inputs import Inputs
from ovis_app.engine.fused.launches import Launches
from ovis_app.engine.fused.prefill import FusedPrefill
from ovis_app.engine.fused.tiles import power_of_two
from ovis_app.engine.kv_pool import KVPool
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.engine.scheduler import Chunk
from ovis_app.engine.sequence import Sequence
from ovis_app.models.ovis import Ovis
from tests.engine.fused.conversations import FAMILIES, go_on, prefilled, prompts
from tests.engine.fused.tiny_models import bare

EPS = 1e-5
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
ROUNDS = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}  # of the largest value
FEW_PROCESSORS = 3  # programs are slow here; with fewer processors there are fewer of them


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def assert_near(found: Tensor, expected: Tensor, dtype: torch.dtype = torch.float32) -> None:
    expected = expected.double()
    assert found.isfinite().all()
    assert float((found.double() - expected).abs().max()) <= ROUNDS[dtype] * max(float(expected.abs().max()), 1.0)


def normed(values: Tensor, weight: Tensor) -> Tensor:
    return values * torch.rsqrt(values.pow(2).mean(-1, keepdim=True) + EPS) * weight.double()


# --- each kernel -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("rows", "outputs", "inputs", "parts", "norm", "gated", "splits"),
    [
        (1, 37, 50, 0, False, False, 1),
        (1, 37, 50, 3, True, False, 1),
        (2, 16, 64, 1, True, True, 1),
        (2, 9, 100, 2, True, False, 3),
        (2, 21, 30, 2, True, True, 1),
        (1, 8, 70, 0, False, False, 4),
    ],
)
def test_product(
    rows: int, outputs: int, inputs: int, parts: int, norm: bool, gated: bool, splits: int, dtype: torch.dtype
) -> None:
    """A sum of splits, kept, normed, times a weight that fits no tile, gated or in splits of its own."""
    weight, scale = random(outputs * (2 if gated else 1), inputs, dtype=dtype), random(inputs, dtype=dtype)
    residual, before = random(rows, inputs), random(max(parts, 1), rows, inputs + 0)
    kept, squares = torch.full((rows, inputs), math.nan), torch.full((splits, rows), math.nan)
    out = torch.full((splits, rows, outputs), math.nan)
    kernels.product[(-(-outputs // 8), splits)](
        residual, before, kept, scale, weight, out, squares, EPS, N=outputs, K=inputs, ROWS=rows, PARTS=parts,
        KEEP=parts > 0, NORM=norm, GATED=gated, SPLITS=splits, TILE_N=8, TILE_K=16, LANE=8,
    )  # fmt: skip
    x = residual.double() + before[:parts].double().sum(0)
    if parts:
        assert_near(kept, x)
    expected = (normed(x, scale) if norm else x) @ weight.double().T
    found = out.double().sum(0)
    if norm and splits > 1:
        found *= torch.rsqrt(squares.double().sum(0) / inputs + EPS)[:, None]
    if gated:
        gates, ups = expected.chunk(2, dim=-1)
        expected = F.silu(gates) * ups
    assert_near(found, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("size", "parts", "bias", "norm"), [(16, 1, True, False), (24, 3, False, True)])
def test_place_heads(size: int, parts: int, bias: bool, norm: bool, dtype: torch.dtype) -> None:
    """Splits summed, scaled, biased, normed and turned; keys and values at their slots, and nowhere else."""
    rows, heads, groups, inputs, tokens = 3, 4, 2, 40, 32
    width = (heads + 2 * groups) * size
    qkv, squares = random(parts, rows, width), random(parts, rows).abs() * inputs
    added, scales = random(width, dtype=dtype), random(2, size, dtype=dtype)
    cos, sin = random(50, size, dtype=dtype), random(50, size, dtype=dtype).flip(0)
    positions, slots = torch.tensor([7, 0, 49], dtype=torch.int32), torch.tensor([5, -1, 31], dtype=torch.int32)
    query = torch.full((rows, heads, size), math.nan, dtype=dtype)
    keys, values = torch.full((2, groups, tokens, size), 9.0, dtype=dtype)
    attention_kernels.place_heads[(rows, heads + 2 * groups)](
        qkv, squares, added, scales[0], scales[1], cos, sin, positions, slots, query, keys, values, EPS, rows, tokens,
        HEADS=heads, GROUPS=groups, SIZE=size, PADDED=power_of_two(size), K=inputs, PARTS=parts, SCALED=parts > 1,
        BIAS=bias, NORM=norm,
    )  # fmt: skip
    whole = qkv.double().sum(0)
    if parts > 1:
        whole *= torch.rsqrt(squares.double().sum(0) / inputs + EPS)[:, None]
    if bias:
        whole += added.double()
    whole = whole.view(rows, -1, size)
    q, k, v = whole.split([heads, groups, groups], dim=1)
    if norm:
        q, k = normed(q, scales[0]), normed(k, scales[1])
    c, s = (table[positions.long()].double()[:, None] for table in (cos, sin))
    q, k = (x * c + torch.cat([-x[..., size // 2 :], x[..., : size // 2]], -1) * s for x in (q, k))
    assert_near(query, q, dtype)
    for pool, expected in ((keys, k), (values, v)):
        assert_near(pool[:, [5, 31]], expected[[0, 2]].transpose(0, 1), dtype)
        others = [place for place in range(tokens) if place not in (5, 31)]
        assert (pool[:, others] == 9.0).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("heads", "groups", "size", "splits"), [(6, 2, 24, 3), (4, 4, 16, 1), (7, 1, 64, 4)])
def test_attention(heads: int, groups: int, size: int, splits: int, dtype: torch.dtype) -> None:
    """Rows of many lengths through tables of blocks, none of them looking past its length or at another's block."""
    lengths, block, stride = [1, 16, 17, 0, 70], 16, 8
    rows, blocks, scaling = len(lengths), 20, size**-0.5
    query = random(rows, heads, size, dtype=dtype)
    order = iter(torch.randperm(blocks, generator=torch.Generator().manual_seed(1)).tolist())
    tables = torch.full((8, stride), 10**6, dtype=torch.int32)  # outside of the pool
    pool = torch.full((2, groups, blocks * block, size), math.nan, dtype=dtype)
    keys, values = pool
    seen = []
    for row, length in enumerate(lengths):
        places = []
        for place in range(-(-length // block)):
            tables[place, row] = next(order)
            places += [int(tables[place, row]) * block + i for i in range(block)]
        both = random(2, groups, length, size, dtype=dtype)
        pool[:, :, places[:length]] = both
        seen.append(both.double())
    sums = torch.full((rows, heads, splits, size), math.nan)
    tops, totals = torch.full((2, rows, heads, splits), math.nan)
    out = torch.full((rows, heads, size), math.nan, dtype=dtype)
    attention_kernels.attend[(rows, groups, splits)](
        query, keys, values, tables, torch.tensor(lengths, dtype=torch.int32), sums, tops, totals, scaling, stride,
        blocks * block, HEADS=heads, GROUPS=groups, SIZE=size, PADDED=power_of_two(size), GROUP=16,
        BLOCK=block, TILE=32, WIDE=dtype == torch.bfloat16,
    )  # fmt: skip
    attention_kernels.combine[(rows * heads,)](
        sums, tops, totals, out, splits, SIZE=size, PADDED=power_of_two(size), MOST=8
    )
    for row, (k, v) in enumerate(seen):
        if lengths[row]:
            q = query[row].double().view(groups, -1, size)
            expected = F.scaled_dot_product_attention(q, k, v, scale=scaling).reshape(heads, size)
        else:
            expected = torch.zeros(heads, size)
        assert_near(out[row], expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("heads", "groups", "size"), [(6, 2, 24), (4, 1, 64)])
def test_attention_of_chunks(heads: int, groups: int, size: int, dtype: torch.dtype) -> None:
    """Beginnings and later parts of prompts, and who decodes: none looks past its place or at another's blocks."""
    block, device, scaling = 16, torch.device("cpu"), size**-0.5
    sizes = [(70, 70), (1, 17), (65, 90), (3, 3)]  # rows and context
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    pool = torch.full((2, groups, len(order) * block, size), math.nan, dtype=dtype)
    spans, seen, start = [], [], 0
    for rows, context in sizes:
        blocks, order = order.split([-(-context // block), len(order) - -(-context // block)])
        places = (blocks[:, None] * block + torch.arange(block)).flatten()[:context]
        both = random(2, groups, context, size, dtype=dtype)
        pool[:, :, places] = both
        seen.append(both.double())
        spans.append(Span(start, rows, context, int(blocks[0]) * block, blocks))
        start += rows
    whole = SimpleNamespace(block_size=block)
    batch = AttentionBatch(whole, torch.zeros(start).long(), spans)  # type: ignore[arg-type]
    at = ChunkPlaces.of(torch.zeros(start).long(), batch, device)
    query, out = random(start, heads, size, dtype=dtype), torch.full((start, heads, size), math.nan, dtype=dtype)
    attention_kernels.attend_chunk[(at.tiles.shape[1], heads)](
        query, pool[0], pool[1], at.tables, at.spans, at.tiles, out, scaling, at.spans.shape[1], at.tiles.shape[1],
        pool.shape[2], HEADS=heads, GROUPS=groups, SIZE=size, PADDED=power_of_two(size), ROWS=TILE_ROWS, BLOCK=block,
        TILE=32, WIDE=dtype == torch.bfloat16,
    )  # fmt: skip
    for span, (k, v) in zip(spans, seen, strict=True):
        rows = slice(span.start, span.start + span.rows)
        q = query[rows].double().transpose(0, 1)
        mask = torch.ones(span.rows, span.context).tril(span.context - span.rows).bool()
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling, enable_gqa=True)
        assert_near(out[rows], expected.transpose(0, 1), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_around_the_libraries_products(dtype: torch.dtype) -> None:
    rows, inputs, table = 3, 50, random(11, 50, dtype=dtype)
    tokens = torch.tensor([10, 0, 3], dtype=torch.int32)
    residual, parts = torch.full((rows, inputs), math.nan), torch.full((2, rows, inputs), math.nan)
    kernels.embed[(rows, 4)](table, tokens, residual, parts, rows, K=inputs, PARTS=2, TILE=16)
    assert torch.equal(residual, table[tokens.long()].float()) and (parts == 0).all()
    addend, scale = random(rows, inputs, dtype=dtype), random(inputs, dtype=dtype)
    whole, out = residual.double() + addend.double(), torch.full((rows, inputs), math.nan, dtype=dtype)
    kernels.add_and_norm[(rows,)](residual, addend, scale, out, EPS, K=inputs, TILE=64, ADD=True)
    assert_near(residual, whole)
    assert_near(out, normed(whole, scale), dtype)
    out.fill_(math.nan)
    kernels.add_and_norm[(rows,)](residual, residual, scale, out, EPS, K=inputs, TILE=64, ADD=False)
    assert_near(residual, whole)
    assert_near(out, normed(whole, scale), dtype)
    both, acts = random(rows, 2 * inputs, dtype=dtype), torch.full((rows, inputs), math.nan, dtype=dtype)
    kernels.gate[(rows, 4)](both, acts, N=inputs, TILE=16)
    gates, ups = both.double().chunk(2, dim=-1)
    assert_near(acts, F.silu(gates) * ups, dtype)


# --- the whole step --------------------------------------------------------------------------------------------------


def fused(step: DecodeStep, pool: KVPool, context: int, most_rows: int) -> FusedStep:
    """Its graphs are the kernels launched one by one."""
    return FusedStep(
        step, pool, context=context, most_rows=most_rows, record=lambda launch: launch, processors=FEW_PROCESSORS
    )


def prepare(made: FusedStep) -> None:
    for _ in made.prepare(seconds=math.inf):
        pass


def assert_same_logits(model: Ovis, some: list[Sequence], tokens: int) -> None:
    """The fused step's are those of the step in torch, token by token, for sequences that go on together."""
    runners = [ModelRunner(model, KVPool(model.llm, 200, 16)) for _ in range(2)]
    longest = max(map(len, some)) + tokens
    step, at = DecodeStep(model.llm, context=longest), Inputs(len(some), blocks=40, device=torch.device("cpu"))
    ours = Launches(step, most_rows=len(some), processors=FEW_PROCESSORS)
    chunks = prefilled(runners, some, tokens)
    for _ in range(tokens):
        last = torch.tensor([one.ids[-1] for one in some])
        positions = torch.tensor([one.computed for one in some])
        at.fill(last, positions, runners[1].attention_batch(chunks))
        *_, found = ours.of(at, runners[1].pool)
        expected = step(last, positions, runners[0].attention_batch(chunks))
        assert found is not None
        assert_near(found, expected)
        chunks = go_on(some, expected.argmax(-1).tolist())


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_four_tokens_of_two_cases(family: str) -> None:
    assert_same_logits(*prompts(family, most=2), tokens=4)


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_prompts_of_two_cases(family: str) -> None:
    """In two parts, the second beside somebody's next token: logits, keys and values as the modules have them."""
    model, (one, other) = prompts(family, most=2)
    pools = [KVPool(model.llm, 200, 16) for _ in range(2)]
    one.block_table, other.block_table = list(range(60)), list(range(60, 120))[::-1]
    for pool in pools:
        for tensor in (*pool.keys, *pool.values):
            tensor.zero_()
    steps = [DecodeStep(model.llm, context=2048) for _ in range(2)]
    runners = [ModelRunner(model, pool, step) for pool, step in zip(pools, steps, strict=True)]
    steps[1].prefill = FusedPrefill(steps[1])  # type: ignore[assignment]
    half = one.pending // 2
    for chunks in ([Chunk(one, half), Chunk(other, other.pending)], [Chunk(other, 1), Chunk(one, one.pending - half)]):
        expected, found = (runner.run(chunks) for runner in runners)
        assert expected is not None and found is not None
        assert_near(found, expected)
        for ours, theirs in zip((*pools[1].keys, *pools[1].values), (*pools[0].keys, *pools[0].values), strict=True):
            assert_near(ours, theirs)
        for chunk in chunks:
            chunk.sequence.computed += chunk.tokens
        other.append(int(expected[0].argmax()))


@pytest.mark.parametrize(("family", "dtype"), [("qwen3", torch.float32), ("qwen2", torch.float16)], ids=str)
def test_prompts_pass_their_trial(family: str, dtype: torch.dtype, caplog: pytest.LogCaptureFixture) -> None:
    made = FusedPrefill(DecodeStep(bare(family, dtype), context=200))
    with caplog.at_level(logging.WARNING):
        list(made.prepare(16))
    assert made.ready and not caplog.records


def test_prompts_go_through_modules_where_kernels_compute_something_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = FusedPrefill(DecodeStep(bare("llama", torch.float32), context=200))
    monkeypatch.setattr(kernels, "gate", Nothing())
    with caplog.at_level(logging.WARNING):
        list(made.prepare(16))
    (warning,) = caplog.messages
    assert not made.ready and "modules" in warning and "differ by up to" in warning


@pytest.mark.kernels
@pytest.mark.parametrize("family", FAMILIES[:2])
@torch.inference_mode()
def test_eight_tokens_of_all_cases(family: str) -> None:
    model, some = prompts(family)
    assert len(some) > 20
    for first in range(0, len(some) - 3, 4):
        assert_same_logits(model, some[first : first + 4], tokens=8)
    for one in some[len(some) // 4 * 4 :]:
        assert_same_logits(model, [one], tokens=8)


@pytest.mark.parametrize(
    ("family", "dtype", "sizes"), [("qwen3", torch.float32, [4, 8]), ("qwen2", torch.float16, [2])], ids=str
)
def test_each_way_passes_the_trial(
    family: str, dtype: torch.dtype, sizes: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """Our own products, and the libraries' for many rows, with odd sizes of heads and of the vocabulary."""
    llm = bare(family, dtype)
    step, pool = DecodeStep(llm, context=60), KVPool(llm, 8, 16)
    made = fused(step, pool, 60, most_rows=5)
    made.sizes = sizes
    with caplog.at_level(logging.WARNING):
        prepare(made)
    assert made.ready == sizes and not made.why and not caplog.records


@pytest.fixture
def small() -> FusedStep:
    llm = bare("llama", torch.float32)
    return fused(DecodeStep(llm, context=40), KVPool(llm, 8, 16), 40, most_rows=1)


def one_token(made: FusedStep) -> tuple[Tensor, Tensor]:
    """Logits of the fused step and of the one in torch, over a pool that is empty."""
    token, position = torch.tensor([3]), torch.tensor([0])
    batch = AttentionBatch(made.pool, torch.tensor([0]), [Span(0, 1, 1, 0, None)])
    return made(token, position, batch).clone(), made.step(token, position, batch)


def test_a_step_that_isnt_ready_goes_by_the_one_in_torch(small: FusedStep) -> None:
    found, expected = one_token(small)
    assert torch.equal(found, expected)
    prepare(small)
    found, expected = one_token(small)
    assert not torch.equal(found, expected), "it isn't used"
    assert_near(found, expected)


class Nothing:
    """A kernel that does nothing."""

    def __getitem__(self, grid: object) -> object:
        return lambda *_, **__: None


def test_a_step_that_computes_something_else_isnt_used(
    small: FusedStep, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(attention_kernels, "combine", Nothing())
    with caplog.at_level(logging.WARNING):
        prepare(small)
    assert small.ready == [] and "differ by up to" in small.why
    (warning,) = caplog.messages
    assert "differ by up to" in warning and "by the one in torch" in warning
    found, expected = one_token(small)
    assert torch.equal(found, expected)


def test_a_step_that_cant_be_recorded_isnt_used(small: FusedStep, caplog: pytest.LogCaptureFixture) -> None:
    def record(launch: object) -> object:
        raise RuntimeError("operation not permitted when stream is capturing\nand much more")

    small._record = record  # type: ignore[assignment]
    with caplog.at_level(logging.WARNING):
        prepare(small)
    (warning,) = caplog.messages
    assert warning.endswith("RuntimeError: operation not permitted when stream is capturing")
    found, expected = one_token(small)
    assert torch.equal(found, expected)


def test_a_step_that_is_never_ready_is_told(
    small: FusedStep, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fused_step, "MOMENT", 0.0)
    with caplog.at_level(logging.WARNING):
        assert sum(1 for _ in small.prepare(seconds=0.0)) == 1
    (warning,) = caplog.messages
    assert small.ready == [] and "takes more than 0 s" in warning


def test_what_is_ready_is_used_where_there_is_no_memory_for_more(
    small: FusedStep, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And where there is none for any, that is told."""
    small.sizes, most = [1, 2], 1

    def inputs(rows: int, *, blocks: int, device: torch.device) -> Inputs:
        if rows > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Inputs(rows, blocks=blocks, device=device)

    monkeypatch.setattr(fused_step, "Inputs", inputs)
    with caplog.at_level(logging.WARNING):
        prepare(small)
        assert small.ready == [1] and not small.why and not caplog.messages
        small._ready.clear()
        most = 0
        prepare(small)
    (warning,) = caplog.messages
    assert small.ready == [] and "no memory" in warning and "no memory" in small.why
