"""Which device each parameter goes to: one for all, or the language model's layers over several GPUs by accelerate.

Only the layers are spread: the visual tokenizer, the tables and the head stay together on the first GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from itertools import accumulate

import torch
from accelerate import dispatch_model
from torch import nn

from ovis_app.checkpoints.memory_fit import BITS

Devices = Callable[[str], torch.device]  # of a parameter's name

WEIGHTS_SHARE = 0.85  # share of a GPU's free memory that weights may take: conversations need the rest


def devices(model: nn.Module, device: str, quantized: Set[str] = frozenset(), bits: str = "none") -> Devices:
    """The device of every parameter of `model`, which has shapes and no weights yet; `quantized` are those that will be
    quantized to `bits`."""
    if device != "cuda" or torch.cuda.device_count() < 2:
        one = torch.device(device)
        return lambda name: one
    free = {number: torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())}
    if size(model, quantized, bits) <= free[0] * WEIGHTS_SHARE:
        first = torch.device("cuda:0")
        return lambda name: first
    return of_map(plan(model, {number: int(size * WEIGHTS_SHARE) for number, size in free.items()}))


def size(model: nn.Module, quantized: Set[str], bits: str) -> int:
    """Bytes of the model's weights once loaded, the modules of `quantized` quantized, whose own are empty yet."""
    modules = [model.get_submodule(name.rpartition(".")[0]) for name in quantized]
    count = sum(module.in_features * module.out_features for module in modules)  # type: ignore[operator, misc]
    return _bytes(model) + round(count * BITS.get(bits, 0.0) / 8)


def plan(model: nn.Module, capacity: Mapping[int, int]) -> dict[str, int]:
    """Module names to GPU numbers: the layers of `model.llm` in order, each GPU with a part as large as its share of
    the capacity (bytes), all else on the first."""
    layers = model.get_submodule("llm.model.layers")
    first, count = min(capacity), len(list(layers.children()))
    others = _bytes(model) - _bytes(layers)
    left = {number: max(size - (others if number == first else 0), 0) for number, size in sorted(capacity.items())}
    ends = list(accumulate(left.values()))
    placed = {"": first}
    for layer in range(count):
        middle = (layer + 0.5) / count * ends[-1]
        placed[f"llm.model.layers.{layer}"] = list(left)[next(n for n, end in enumerate(ends) if middle <= end)]
    return placed


def of_map(placed: Mapping[str, int | str]) -> Devices:
    """The rule of a map: the longest module name that a parameter's name begins with."""

    def where(name: str) -> torch.device:
        found = max((key for key in placed if not key or name == key or name.startswith(f"{key}.")), key=len)
        return torch.device(placed[found])

    return where


def finish(model: nn.Module, rule: Devices, *, hooks: bool = False) -> None:
    """Moves buffers after the parameters. Where `rule` is of several devices, or with `hooks`, accelerate moves the
    activations of `model.llm` between its layers."""
    for name, buffer in list(model.named_buffers()):
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, buffer.to(rule(name)))
    llm = model.get_submodule("llm")
    names = [f"model.layers.{number}" for number, _ in llm.get_submodule("model.layers").named_children()]
    names += [f"model.{name}" for name, _ in llm.get_submodule("model").named_children() if name != "layers"]
    names += [name for name, _ in llm.named_children() if name != "model"]
    placed = {name: rule(f"llm.{name}") for name in names}
    if hooks or len(set(placed.values())) > 1:
        dispatch_model(llm, device_map=placed, skip_keys=["cache", "past_key_values"], force_hooks=True)


def _bytes(model: nn.Module) -> int:
    """What the parameters will take: one that the config ties to another takes nothing."""
    tied = getattr(model, "all_tied_weights_keys", {})
    return sum(value.nbytes for name, value in model.named_parameters() if name not in tied)
