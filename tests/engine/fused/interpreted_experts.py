"""A mixture of experts in Triton's interpreter: its kernels, and whole steps with it. Run as `interpreted.py` is."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from ovis_app.engine.decode_step import DecodeStep
from ovis_app.engine.fused import expert_kernels as kernels
from ovis_app.engine.fused import experts, routing
from ovis_app.engine.fused.fused_step import FusedStep
from ovis_app.engine.fused.inputs import Inputs
from ovis_app.engine.fused.launches import Launches
from ovis_app.engine.fused.prefill import FusedPrefill
from ovis_app.engine.fused.tiles import Tile
from ovis_app.engine.fused.trial import made_up
from ovis_app.engine.kv_pool import KVPool
from tests.engine.fused.interpreted import (
    DTYPES,
    EPS,
    FEW_PROCESSORS,
    Nothing,
    assert_near,
    fused,
    normed,
    prepare,
    random,
)
from tests.engine.fused.tiny_models import bare

CONTEXT = 60


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("count", "chosen", "parts", "norm", "whole"),
    [(11, 3, 1, False, True), (16, 4, 3, True, False), (5, 5, 1, True, True), (8, 1, 2, True, True)],
)
def test_route(count: int, chosen: int, parts: int, norm: bool, whole: bool, dtype: torch.dtype) -> None:
    """The best experts of each row and their shares, of summed and normed scores; rows are normed on the way."""
    rows, inputs = 3, 50
    scores, residual, scale = random(parts, rows, count), 3 * random(rows, inputs), random(inputs, dtype=dtype)
    out = torch.full((rows, inputs), math.nan, dtype=dtype)
    found, shares = torch.full((rows, chosen), -1, dtype=torch.int32), torch.full((rows, chosen), math.nan)
    kernels.route[(rows,)](
        scores, residual, scale, out, found, shares, EPS, rows, COUNT=count, PADDED=16, CHOSEN=chosen, PARTS=parts,
        WHOLE=whole, NORM=norm, SCALED=norm and parts > 1, K=inputs, TILE=64,
    )  # fmt: skip
    summed = scores.sum(0)
    if norm:
        assert_near(out, normed(residual.double(), scale), dtype)
        if parts > 1:
            summed = summed * torch.rsqrt(residual.pow(2).mean(-1, keepdim=True) + EPS)
    values, best = summed.to(dtype).softmax(-1, dtype=torch.float32).topk(chosen)
    assert found.tolist() == best.tolist()
    assert_near(shares, values / values.sum(-1, keepdim=True) if whole else values, dtype)


def test_of_equal_experts_the_first_is_taken() -> None:
    """And each expert once, even where there is no order."""
    scores = torch.tensor([[1.0, 2.0, 1.0, 2.0, 1.0], [0.0] * 5, [math.nan] * 5])
    found, shares = torch.full((3, 3), 4, dtype=torch.int32), torch.zeros(3, 3)
    kernels.route[(3,)](
        scores, scores, scores, scores, found, shares, EPS, 3, COUNT=5, PADDED=8, CHOSEN=3, PARTS=1, WHOLE=True,
        NORM=False, SCALED=False, K=1, TILE=1,
    )  # fmt: skip
    assert found[:2].tolist() == [[1, 3, 0], [0, 1, 2]]
    assert (found[2] >= 0).all() and (found[2] < 5).all(), "weights would be read outside of all experts"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("rows", "forward", "inputs", "chosen", "splits", "lane"),
    [(1, 16, 64, 2, 1, 8), (3, 20, 50, 3, 2, 4), (2, 24, 40, 4, 3, 8)],
)
def test_products_of_experts(
    rows: int, forward: int, inputs: int, chosen: int, splits: int, lane: int, dtype: torch.dtype
) -> None:
    """Each row's own experts, which some rows share, whether sizes fit tiles or not."""
    count = 6
    x, gate_up = random(rows, inputs, dtype=dtype), random(count, 2 * forward, inputs, dtype=dtype)
    down, shares = random(count, inputs, forward, dtype=dtype), random(rows, chosen).abs()
    picked = torch.stack([torch.arange(row, row + chosen) % count for row in range(rows)]).flip(-1).int()
    acts = torch.full((rows, chosen, forward), math.nan, dtype=dtype)
    kernels.experts_gate_up[(rows * chosen, -(-forward // 8))](
        x, picked, gate_up, acts, N=forward, K=inputs, CHOSEN=chosen, TILE_N=8, TILE_K=16, LANE=8
    )
    both = torch.einsum("ri,rcoi->rco", x.double(), gate_up.double()[picked.long()])
    gates, ups = both.chunk(2, dim=-1)
    assert_near(acts, F.silu(gates) * ups, dtype)
    out = torch.full((splits, rows, inputs), math.nan)
    kernels.experts_down[(rows, -(-inputs // 8), splits)](
        acts, picked, shares, down, out, rows, N=inputs, K=forward, CHOSEN=chosen, SPLITS=splits, TILE_N=8, TILE_K=16,
        LANE=lane,
    )  # fmt: skip
    expected = torch.einsum("rcf,rcof,rc->ro", acts.double(), down.double()[picked.long()], shares.double())
    assert_near(out.double().sum(0), expected)


# --- whole steps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "splits"), [(1, 1), (1, 3), (2, 3), (5, 3)])
@torch.inference_mode()
def test_steps_with_experts_and_a_dense_layer_between(rows: int, splits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose products are cut otherwise than the experts'."""

    def of(*sizes: int, most_splits: int, **named: Any) -> Tile:
        return replace(Tile.of(*sizes, **named), k=16, splits=min(splits, most_splits))

    monkeypatch.setattr(experts, "Tile", SimpleNamespace(of=of))
    llm = bare("qwen3_moe", torch.float32)
    step, pools = DecodeStep(llm, context=CONTEXT), [KVPool(llm, 8 + rows, 16) for _ in range(2)]
    ours, theirs = (made_up(step, pool, rows, CONTEXT) for pool in pools)
    at = Inputs(rows, blocks=8, device=torch.device("cpu"))
    at.fill(*ours)
    launches = Launches(step, most_rows=rows, processors=FEW_PROCESSORS)
    *_, found = launches.of(at, pools[0])
    assert found is not None
    other, chosen = routing.heard(step)
    assert_near(found, other(*theirs))
    same = zip(launches.routings(rows), chosen, strict=True)
    assert all(torch.equal(one.experts.long(), another.experts) for one, another in same)


def tried(llm: PreTrainedModel, size: int, monkeypatch: pytest.MonkeyPatch, **other: object) -> FusedStep:
    """A step that was made ready for that many rows, or wasn't, with `other` kernels in their places."""
    monkeypatch.setattr(FusedPrefill, "prepare", lambda *_: iter(()))  # tried by itself
    names = {name: getattr(kernels, name) for name in ("route", "experts_gate_up", "experts_down")}
    monkeypatch.setattr(experts, "kernels", type("Kernels", (), names | other))
    made = fused(DecodeStep(llm, context=CONTEXT), KVPool(llm, 8, 16), CONTEXT, most_rows=5)
    made.sizes = [size]
    prepare(made)
    return made


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.float16, 2), (torch.float16, 4)], ids=str)
def test_steps_with_experts_pass_the_trial(dtype: torch.dtype, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tried(bare("qwen3_moe", dtype), size, monkeypatch)
    assert made.ready == [size] and not made.why


def routed_otherwise(experts: Callable[[Tensor], Tensor], shares: Callable[[Tensor], Tensor]) -> object:
    """The kernel that routes, and what becomes of its experts and shares."""

    class Route:
        def __getitem__(self, grid: object) -> Callable[..., None]:
            return partial(self._call, grid)

        def _call(self, grid: object, *values: Tensor, **named: int) -> None:
            kernels.route[grid](*values, **named)
            values[4].copy_(experts(values[4]))
            values[5].copy_(shares(values[5]))

    return Route()


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"route": routed_otherwise(lambda found: (found + 1) % 11, torch.clone)}, "less probable than those in torch"),
        (
            {"route": routed_otherwise(lambda found: found[:, :1].clone(), torch.clone)},
            "less probable than those in torch",
        ),
        ({"route": routed_otherwise(torch.clone, torch.ones_like)}, "apart from those in torch"),
        ({"experts_down": Nothing()}, "those in torch"),
    ],
    ids=["other experts", "one expert twice", "other shares", "another product"],
)
def test_a_step_whose_experts_do_something_else_isnt_used(
    other: dict[str, object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tried(bare("qwen3_moe", torch.float16), 1, monkeypatch, **other)
    assert made.ready == [] and why in made.why


def test_of_experts_that_are_as_good_any_may_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = bare("qwen3_moe", torch.float32)
    for name, weight in llm.named_parameters():
        if name.endswith("mlp.gate.weight"):
            weight.data.zero_()
    made = tried(llm, 2, monkeypatch, route=routed_otherwise(lambda found: (found + 5) % 11, torch.clone))
    assert made.ready == [2] and not made.why


def test_prompts_with_experts_pass_their_trial() -> None:
    made = FusedPrefill(DecodeStep(bare("qwen3_moe", torch.float16), context=20))
    list(made.prepare(16))
    assert made.ready


def test_prompts_with_other_experts_go_through_modules(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(routing.Heard, "of", lambda mixture, rows: mixture.routings.append(routing.Routing(
        mixture.chances(rows).topk(mixture.chosen, largest=False).indices, torch.ones(len(rows), mixture.chosen)
    )) or torch.zeros_like(rows))  # fmt: skip
    made = FusedPrefill(DecodeStep(bare("qwen3_moe", torch.float16), context=20))
    with caplog.at_level(logging.WARNING):
        list(made.prepare(16))
    assert not made.ready and "less probable" in caplog.text
