"""Which device each parameter goes to: one for all, or the language model's layers over several GPUs by accelerate.

Only the layers are spread: the visual tokenizer, the tables and the head stay together on the first GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set

import torch
from accelerate import dispatch_model, infer_auto_device_map
from torch import nn

Devices = Callable[[str], torch.device]  # of a parameter's name

ROOM = 0.85  # share of a GPU's free memory that weights may take: conversations need the rest
SMALL = 0.28  # size of a 4-bit weight against bfloat16, the other half of which is scales and slack


def devices(model: nn.Module, device: str, small: Set[str] = frozenset()) -> Devices:
    """The device of every parameter of `model`, which has shapes and no weights yet; `small` are those that will be
    quantized."""
    if device != "cuda" or torch.cuda.device_count() < 2:
        one = torch.device(device)
        return lambda name: one
    free = {number: torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())}
    if _bytes(model) * (SMALL if small else 1.0) <= free[0] * ROOM:
        first = torch.device("cuda:0")
        return lambda name: first
    return of_map(plan(model, {number: int(size * ROOM) for number, size in free.items()}))


def plan(model: nn.Module, room: Mapping[int, int]) -> dict[str, int]:
    """Module names to GPU numbers: the layers of `model.llm` where bytes of `room` allow, all else on the first."""
    llm = model.get_submodule("llm")
    layers = llm.get_submodule("model.layers")
    others = _bytes(model) - _bytes(layers)
    first = min(room)
    left = {number: size - (others if number == first else 0) for number, size in room.items()}
    kind = type(layers.get_submodule("0")).__name__
    placed = infer_auto_device_map(layers, max_memory={**left, "cpu": 0}, no_split_module_classes=[kind])
    placed = {name: number if isinstance(number, int) else max(room) for name, number in placed.items()}
    return {"": first, **{f"llm.model.layers.{name}".rstrip("."): number for name, number in placed.items()}}


def of_map(placed: Mapping[str, int | str]) -> Devices:
    """The rule of a map: the longest module name that a parameter's name begins with."""

    def where(name: str) -> torch.device:
        found = max((key for key in placed if not key or name == key or name.startswith(f"{key}.")), key=len)
        return torch.device(placed[found])

    where.placed = placed  # type: ignore[attr-defined]
    return where


def finish(model: nn.Module, device: str, rule: Devices) -> None:
    """Moves buffers after the parameters; with several devices, accelerate moves activations between them."""
    placed = getattr(rule, "placed", None)
    for name, buffer in list(model.named_buffers()):
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, buffer.to(rule(name)))
    if placed is not None and len(set(placed.values())) > 1:
        llm = model.get_submodule("llm")
        inner = {name.removeprefix("llm."): number for name, number in placed.items() if name.startswith("llm.")}
        names = {name.partition(".")[0] for name, _ in llm.named_children()} | {"model.embed_tokens", "model.norm"}
        names |= {f"model.{name}" for name, _ in llm.get_submodule("model").named_children()} - {"model.layers"}
        rest = dict.fromkeys(names - {"model", "model.layers"}, placed[""])
        dispatch_model(llm, device_map={**rest, **inner}, skip_keys="past_key_values", force_hooks=True)


def _bytes(model: nn.Module) -> int:
    return sum(value.numel() * value.itemsize for value in model.parameters())
