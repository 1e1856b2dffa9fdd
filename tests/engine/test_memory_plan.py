"""Who gets how much memory, on machines that aren't here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields

import pytest
import torch

from ovis_app.engine import memory_plan
from ovis_app.engine.block_manager import BLOCK_SIZE
from ovis_app.engine.memory_plan import MemoryPlan
from ovis_app.errors import BackendError
from ovis_app.models.ovis import Ovis
from ovis_app.settings import Settings
from tests.engine.prompts import tiny

CONTEXT, GB, LAYERS = 1000, 10**9, 4

Machine = Callable[..., Ovis]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A model on a machine with so many bytes free."""

    def of(free: int, device: str = "cpu") -> Ovis:
        monkeypatch.setattr(memory_plan, "bytes_available", lambda *_: free)
        monkeypatch.setattr(Ovis, "device", torch.device(device))
        monkeypatch.setattr(memory_plan, "layer_devices", lambda llm: [torch.device(device)] * LAYERS)
        return tiny("ovis2.5").model

    return of


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_without_a_prefix_cache_nothing_is_kept_and_a_whole_conversation_fits(machine: Machine, device: str) -> None:
    plan = MemoryPlan.of(machine(9 * GB, device), context=CONTEXT, prefix_cache=0, gpu_memory=0.85)
    assert plan.cached_blocks == 0 and plan.tokens >= CONTEXT


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_what_is_kept_is_part_of_what_there_is(machine: Machine, device: str) -> None:
    plan = MemoryPlan.of(machine(2 * GB, device), context=CONTEXT, prefix_cache=GB, gpu_memory=0.85)
    assert 0 < plan.cached_blocks <= plan.blocks and plan.kv <= 2 * GB - plan.working
    if device == "cpu":
        assert plan.prefix_cache <= GB


@pytest.mark.parametrize(("device", "advice"), [("cpu", "close what else"), ("cuda:0", "raise --gpu-memory")])
def test_a_machine_without_room_for_anybody_says_what_to_do(machine: Machine, device: str, advice: str) -> None:
    with pytest.raises(BackendError, match=advice) as refused:
        MemoryPlan.of(machine(1000, device), context=CONTEXT, prefix_cache=GB, gpu_memory=0.85)
    flags = {f"--{field.name.replace('_', '-')}" for field in fields(Settings)}
    assert {*re.findall("--[a-z-]+", str(refused.value))} <= flags


def test_encoded_pictures_are_within_the_share_of_the_card(machine: Machine) -> None:
    bare, beside = (
        MemoryPlan.of(machine(2 * GB, "cuda:0"), context=10**9, prefix_cache=GB, gpu_memory=0.85, encoder_cache=size)
        for size in (0, GB)
    )
    assert bare.kv - beside.kv == GB


def test_for_one_conversation_no_more_is_taken_than_that(machine: Machine) -> None:
    card = machine(9 * GB, "cuda:0")
    plan = MemoryPlan.of(card, context=CONTEXT, prefix_cache=0, gpu_memory=0.85, conversations=1)
    assert CONTEXT <= plan.tokens < CONTEXT + BLOCK_SIZE and plan.cached_blocks == 0


def test_each_layer_is_given_memory_where_it_is(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three layers of four on a second card: it is full first, though the other has as much left."""
    model = machine(2 * GB, "cuda:0")
    places = [torch.device("cuda:0")] + [torch.device("cuda:1")] * 3
    monkeypatch.setattr(memory_plan, "layer_devices", lambda llm: places)
    plan = MemoryPlan.of(model, context=10**9, prefix_cache=GB, gpu_memory=0.85)
    assert plan.kv * 3 / 4 <= 2 * GB < plan.kv * 3 / 4 + 16
