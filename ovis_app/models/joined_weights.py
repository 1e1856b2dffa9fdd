"""Weights that are read together stand together: query, key and value, gate and up, each as views into one tensor.

One product over joined weights takes less time than three over parts. The modules keep working: their parameters are
rows of the joined tensor. Knows the modules' names; refuses to know how they are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

QKV = ("q_proj", "k_proj", "v_proj")
GATE_UP = ("gate_proj", "up_proj")


def make_room(llm: nn.Module, device_of: Callable[[str], torch.device | None]) -> None:
    """Before weights are read: the parameters of what `join` would join become views of memory that was never written,
    so that reading them joins them. `device_of` says where a parameter of `llm` goes by its name, and None where it
    won't be a plain tensor."""
    for names in _groups(llm):
        places = {device_of(f"{name}.weight") for name in names}
        modules = [llm.get_submodule(name) for name in names]
        device = places.pop()
        if not places and device is not None and all(type(module) is nn.Linear for module in modules):
            for leaf in ("weight", "bias"):
                _lay_out(modules, leaf, device)


def join(modules: Sequence[nn.Module]) -> tuple[Tensor, Tensor | None]:
    """One weight [sum of outputs, inputs] and bias [sum of outputs] of Linear modules, whose parameters become views of
    it. Takes as much memory again while it copies."""
    weight = _joined(modules, "weight")
    assert weight is not None
    return weight, _joined(modules, "bias")


def together(modules: Sequence[nn.Module], weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the modules' parameters are still views of what they were joined to: moved, converted or loaded anew,
    they come apart without a word."""
    return _views(modules, "weight", weight) and (bias is None or _views(modules, "bias", bias))


def _joined(modules: Sequence[nn.Module], name: str) -> Tensor | None:
    parts = [getattr(module, name) for module in modules]
    if parts[0] is None:
        return None
    if _consecutive(parts):
        rows = sum(len(part) for part in parts)
        return parts[0].detach().as_strided((rows, *parts[0].shape[1:]), parts[0].stride())
    whole = _lay_out(modules, name, parts[0].device)
    assert whole is not None
    for module, part in zip(modules, parts, strict=True):
        getattr(module, name).detach().copy_(part.detach())
    return whole


def _lay_out(modules: Sequence[nn.Module], name: str, device: torch.device) -> Tensor | None:
    """Makes the modules' parameters views into one tensor that was never written."""
    parts = [getattr(module, name) for module in modules]
    if parts[0] is None:
        return None
    sizes = [len(part) for part in parts]
    whole = parts[0].new_empty(sum(sizes), *parts[0].shape[1:], device=device)
    for module, part, place in zip(modules, parts, whole.split(sizes), strict=True):
        setattr(module, name, nn.Parameter(place, requires_grad=part.requires_grad))
    return whole


def _groups(llm: nn.Module) -> Iterator[list[str]]:
    """Names of the modules that are joined, layer by layer."""
    for number, layer in enumerate(cast(nn.ModuleList, llm.get_submodule("model.layers"))):
        yield [f"model.layers.{number}.self_attn.{name}" for name in QKV]
        if hasattr(layer.get_submodule("mlp"), GATE_UP[0]):  # experts hold theirs together already
            yield [f"model.layers.{number}.mlp.{name}" for name in GATE_UP]


def _consecutive(parts: Sequence[Tensor]) -> bool:
    """Whether parts are joined already: one behind the other in one piece of memory."""
    one_storage = len({part.untyped_storage().data_ptr() for part in parts}) == 1
    ends = [part.storage_offset() + part.numel() for part in parts]
    begins = [part.storage_offset() for part in parts[1:]]
    return one_storage and all(part.is_contiguous() for part in parts) and begins == ends[:-1]


def _views(modules: Sequence[nn.Module], name: str, whole: Tensor) -> bool:
    begin = whole.data_ptr()
    for module in modules:
        part: Tensor = getattr(module, name)
        if part.data_ptr() != begin or part.dtype != whole.dtype or part.device != whole.device:
            return False
        begin += part.nbytes
    return True
