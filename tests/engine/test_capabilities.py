"""How a model's steps are made, and what is said of it: chosen by the model, the device and what is installed."""

from __future__ import annotations

import importlib.util
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from ovis_app.engine import capabilities, open_engine
from ovis_app.engine.capabilities import Capabilities
from ovis_app.engine.decode_step import DecodeStep
from ovis_app.engine.kv_pool import KVPool
from tests.engine.fused.tiny_models import bare


@pytest.fixture
def llm() -> PreTrainedModel:
    return bare("qwen2", torch.float32)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine with a GPU on which Triton runs, to be made worse."""
    machine: dict[str, Any] = {"capability": (9, 0), "triton": True}
    find = importlib.util.find_spec
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: machine["capability"])
    monkeypatch.setattr(
        capabilities, "find_spec", lambda name: machine["triton"] or None if name == "triton" else find(name)
    )
    return machine


def on(device: str, llm: PreTrainedModel) -> Any:
    return SimpleNamespace(llm=llm, device=torch.device(device), dtype=llm.dtype)


def test_a_cpu_makes_steps_by_hand(llm: PreTrainedModel) -> None:
    can = Capabilities.of(on("cpu", llm))
    assert str(can) == "decode by hand, attention in torch" and not can.recorded


def test_a_card_makes_fused_steps(llm: PreTrainedModel, card: dict[str, Any]) -> None:
    can = Capabilities.of(on("cuda", llm))
    assert str(can) == "decode fused, recorded, attention in triton"


@pytest.mark.parametrize(
    ("worse", "why"),
    [
        ({"triton": False}, "Triton isn't installed, and a step in torch can't be recorded"),
        ({"capability": (7, 5)}, "the card is older than Ampere"),
    ],
)
def test_what_keeps_the_fused_step_out_is_said(
    llm: PreTrainedModel, card: dict[str, Any], worse: dict[str, Any], why: str
) -> None:
    card.update(worse)
    can = Capabilities.of(on("cuda", llm))
    assert (can.decode, can.attention, can.recorded, can.why) == ("by hand", "torch", False, why)
    assert str(can) == f"decode by hand, attention in torch ({why})"


def test_where_nothing_may_be_recorded_the_card_is_asked_nothing(
    llm: PreTrainedModel, card: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(device: object) -> object:
        raise AssertionError("the card was asked")

    monkeypatch.setattr(torch.cuda, "get_device_capability", asked)
    can = Capabilities.of(on("cuda", llm), record=False)
    assert str(can) == "decode by hand, attention in torch (graphs aren't recorded for a single answer)"


def test_biases_that_the_fused_step_doesnt_add_keep_it_out(llm: PreTrainedModel, card: dict[str, Any]) -> None:
    down = llm.get_submodule("model.layers.0.mlp.down_proj")
    down.bias = torch.nn.Parameter(torch.zeros(96))  # type: ignore[assignment]
    can = Capabilities.of(on("cuda", llm))
    assert (can.decode, can.why) == ("by hand", "its projections have biases")


def test_experts_are_fused_but_for_those_that_no_kernel_knows(card: dict[str, Any]) -> None:
    llm = bare("qwen3_moe", torch.float32)
    assert Capabilities.of(on("cuda", llm)).decode == "fused"
    mixture = llm.get_submodule("model.layers.0.mlp")
    mixture.register_module("shared_expert", torch.nn.Linear(96, 96))
    can = Capabilities.of(on("cuda", llm))
    assert (can.decode, can.why) == ("by hand", "its experts have no kernel of ours")


def step_of(llm: PreTrainedModel, can: Capabilities) -> object:
    pool = KVPool(llm, 4, 16)
    return open_engine.decode_step(on("cpu", llm), pool, can, context=32, most_rows=2)


def test_weights_that_came_apart_are_noticed(
    llm: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a move does it, whoever makes it: then the modules have weights that the step doesn't read."""

    class Moved(DecodeStep):
        def __init__(self, llm: PreTrainedModel, *, context: int) -> None:
            super().__init__(llm, context=context)
            llm.to(torch.float64)

    can = Capabilities("by hand", "torch")
    assert isinstance(step_of(llm, can), DecodeStep) and not caplog.records
    monkeypatch.setattr(open_engine, "DecodeStep", Moved)
    assert step_of(llm, can) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "came apart" in caplog.text


def test_a_triton_that_doesnt_load_leaves_the_step_in_torch(
    llm: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> object:
        raise ImportError("libtriton.so: undefined symbol")

    monkeypatch.setattr(open_engine, "_fused", broken)
    assert isinstance(step_of(llm, Capabilities("fused", "triton", recorded=True)), DecodeStep)
    (warning,) = caplog.messages
    assert "undefined symbol" in warning


def test_modules_need_no_step(llm: PreTrainedModel) -> None:
    assert step_of(llm, Capabilities("modules", "torch", "its weights are quantized")) is None
