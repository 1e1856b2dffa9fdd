"""Joined weights are the modules' own, in one piece; and it is noticed where they no longer are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ovis_app.models import joined_weights

Joined = tuple[nn.ModuleList, Tensor, Tensor | None]


def linears(bias: bool) -> nn.ModuleList:
    torch.manual_seed(0)
    return nn.ModuleList(nn.Linear(8, outputs, bias=bias) for outputs in (6, 2, 2))


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def joined(request: pytest.FixtureRequest) -> Joined:
    modules = linears(request.param)
    return modules, *joined_weights.join(list(modules))


def outputs(modules: nn.ModuleList, rows: Tensor) -> Tensor:
    return torch.cat([module(rows) for module in modules], dim=-1)


def test_one_product_is_that_of_all_parts_and_the_parts_stay_themselves(joined: Joined) -> None:
    modules, weight, bias = joined
    rows, whole = torch.randn(3, 8), linears(bias is not None)
    torch.testing.assert_close(nn.functional.linear(rows, weight, bias), outputs(whole, rows))
    assert torch.equal(outputs(modules, rows), outputs(whole, rows))
    assert {name: value.tolist() for name, value in modules.state_dict().items()} == {
        name: value.tolist() for name, value in whole.state_dict().items()
    }
    assert joined_weights.together(list(modules), weight, bias)


def test_they_take_the_memory_of_one(joined: Joined) -> None:
    modules, weight, _ = joined
    assert {module.weight.untyped_storage().data_ptr() for module in modules} == {weight.untyped_storage().data_ptr()}
    assert weight.untyped_storage().nbytes() == sum(module.weight.nbytes for module in modules)


def test_to_join_again_copies_nothing(joined: Joined) -> None:
    modules, weight, bias = joined
    again, _ = joined_weights.join(list(modules))
    assert again.data_ptr() == weight.data_ptr() and again.shape == weight.shape
    assert joined_weights.together(list(modules), weight, bias)


def test_weights_that_are_loaded_into_them_are_read_by_both(joined: Joined, tmp_path: Path) -> None:
    modules, weight, bias = joined
    changed = {name: value + 1 for name, value in modules.state_dict().items()}
    save_file(changed, tmp_path / "weights.safetensors")
    modules.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    rows = torch.randn(3, 8)
    assert joined_weights.together(list(modules), weight, bias)
    torch.testing.assert_close(nn.functional.linear(rows, weight, bias), outputs(modules, rows))
    assert torch.equal(modules[0].weight, changed["0.weight"])


def assigned(modules: nn.ModuleList) -> nn.ModuleList:
    modules.load_state_dict({name: value.clone() for name, value in modules.state_dict().items()}, assign=True)
    return modules


def one_exchanged(modules: nn.ModuleList) -> nn.ModuleList:
    modules[1].weight = nn.Parameter(modules[1].weight.detach().clone())
    return modules


@pytest.mark.parametrize(
    "change",
    [lambda modules: modules.to(torch.bfloat16), lambda modules: modules.half(), copy.deepcopy, assigned,
     one_exchanged, lambda modules: modules.to("meta")],
    ids=["bfloat16", "half", "deepcopy", "assign", "one", "another device"],
)  # fmt: skip
def test_weights_that_came_apart_are_noticed(
    joined: Joined, change: Callable[[nn.ModuleList], nn.ModuleList]
) -> None:  # fmt: skip
    modules, weight, bias = joined
    assert not joined_weights.together(list(change(modules)), weight, bias)


def test_what_changes_nothing_leaves_them_together(joined: Joined) -> None:
    modules, weight, bias = joined
    for change in (lambda m: m.to(torch.float32), lambda m: m.eval(), lambda m: m.requires_grad_(False)):
        assert joined_weights.together(list(change(modules)), weight, bias)
