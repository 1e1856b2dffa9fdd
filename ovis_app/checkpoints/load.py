"""A checkpoint's weights to a model that answers: an empty model, every tensor read into its place, on its device.

Knows where bytes go and how far that is; refuses to know names, tokenizers and requests.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.initialization import no_init_weights

from ovis_app.checkpoints import bitsandbytes, device_map, gptq, memory_fit
from ovis_app.checkpoints.adapter import Adapter
from ovis_app.checkpoints.checkpoint import (
    UNREADABLE,
    Goal,
    check_shapes,
    damage_as_sentences,
    goals_of,
    read_headers,
    unused,
)
from ovis_app.checkpoints.gptq import Packed
from ovis_app.checkpoints.hub import Progress, amount, no_progress
from ovis_app.checkpoints.placement import Placement
from ovis_app.checkpoints.safetensors import Reader, Stored
from ovis_app.errors import BackendError
from ovis_app.models import joined_weights
from ovis_app.models.config import OvisConfig, called
from ovis_app.models.devices import choose_attention
from ovis_app.models.ovis import Ovis
from ovis_app.models.quantized_linear import QuantizedLinear

LAYERS = "llm.model.layers."
IN_BITS = {"int8": "is_loaded_in_8bit", "int4": "is_loaded_in_4bit"}  # by which peft knows what its layers wrap

log = logging.getLogger(__name__)


def load(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    quantize: str = "none",
    adapter: Path | None = None,
    progress: Progress = no_progress,
) -> Ovis:
    """The model of a folder, with the adapter of another, for whoever needs nothing else of it: training, tests,
    benchmarks. Raises BackendError."""
    config = OvisConfig.read(folder)
    tensors, added = read_headers(folder, config), None
    if adapter is not None:
        added = Adapter.read(adapter, check_shapes(folder, config, tensors))
    return load_weights(folder, config, tensors, Placement(device, dtype, quantize), progress, adapter=added)


def load_weights(
    folder: Path,
    config: OvisConfig,
    tensors: Mapping[str, Stored],
    placement: Placement,
    progress: Progress = no_progress,
    *,
    adapter: Adapter | None = None,
) -> Ovis:
    """The model of a checkpoint whose config and headers were read, ready to answer. `adapter` is added to each weight
    as it is read. `progress` hears of the bytes; what it raises passes through. Raises BackendError with a sentence for
    people."""
    config = copy.deepcopy(config)  # the model's own, which the placement shapes
    config.attention = choose_attention(config.llm_config.model_type, placement.device, placement.dtype)
    model = skeleton(config, placement.dtype)
    goals = goals_of(model, tensors, config, folder)
    try:
        with damage_as_sentences(folder):
            _fill(model, goals, placement, progress, called(folder), adapter)
    except OSError as error:
        raise BackendError(UNREADABLE.format(name=called(folder))) from error
    model.llm.generation_config = GenerationConfig()  # sampling is the request's affair, not the checkpoint's
    return model.eval()


def skeleton(config: OvisConfig, dtype: torch.dtype) -> Ovis:
    """The model with parameters that were never written, which take no memory yet; its buffers are right."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with no_init_weights():
            return Ovis(config).requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


def _fill(
    model: Ovis, goals: list[Goal], placement: Placement, progress: Progress, name: str, adapter: Adapter | None
) -> None:
    """Reads everything into its place, on its device, with what the adapter adds, quantized where asked, or as it was
    released."""
    device, bits = placement.device, placement.quantize
    total = sum(part.size for goal in goals for part in goal.parts)
    done = 0

    def count_bytes(count: int) -> None:
        nonlocal done
        done += count
        progress(f"Loading {name}: {amount(done, total)}", done / total)

    quantized = _prepare(model, goals, placement, name)
    devices = device_map.devices(model, device, quantized.keys(), bits)
    full = torch.empty(max((_weights(goal) for goal in goals if goal.name in quantized), default=0), dtype=model.dtype)
    joined_weights.make_room(model.llm, lambda name: None if f"llm.{name}" in quantized else devices(f"llm.{name}"))
    with Reader(count_bytes) as reader:
        for goal in goals:
            where = devices(goal.name)
            module, leaf = _module(model, goal.name)
            if isinstance(module, QuantizedLinear) and leaf == "weight":
                gptq.fill(module, cast(Packed, goal.parts[0]), reader)
                module.to(where)
                continue
            if goal.name in quantized:
                values = full[: _weights(goal)].view(goal.parts[0].shape)
                _read(reader, goal, values, adapter)
                bitsandbytes.put(module, values, quantized[goal.name], where)
                continue
            value = getattr(module, leaf)
            there = value.device.type == where.type and where.index in (None, value.device.index)
            out = value if there else torch.empty(value.shape, dtype=value.dtype, device=where)
            _read(reader, goal, out, adapter)
            if out is not value:
                setattr(module, leaf, nn.Parameter(out, requires_grad=False))
    filled = {goal.name for goal in goals}
    _tie(model, filled)
    for name in [name for name, _ in model.named_parameters() if unused(name) and name not in filled]:
        module, leaf = _module(model, name)
        neutral = torch.ones_like(getattr(module, leaf), device=devices(name))
        setattr(module, leaf, nn.Parameter(neutral, requires_grad=False))
    device_map.finish(model, devices)


def _prepare(model: Ovis, goals: list[Goal], placement: Placement, name: str) -> dict[str, bitsandbytes.Storage]:
    """Makes modules of what will be there in fewer bits. Returns where the weights that are to be quantized go, by
    their names. Integers that were released stay only where their values wouldn't fit: unpacked anew for each token,
    they take five to ten times as long."""
    if placement.quantize != "none":
        if any("experts" in path.split(".") for path, _ in model.llm.named_parameters()):
            size = device_map.size(model, set(), "none") / 1e9
            raise BackendError(memory_fit.EXPERTS_STAY.format(name=name, size=size))
        found = bitsandbytes.prepare(model.llm, placement.quantize, placement.device)
        setattr(model, IN_BITS[placement.quantize], True)
        return {f"llm.{weight}": storage for weight, storage in found.items()}
    released = {
        goal.name: part
        for goal in goals
        for part in goal.parts
        if isinstance(part, Packed) and goal.name.startswith(LAYERS)
    }
    if released:
        needed = device_map.size(model, set(), "none") + memory_fit.beside_weights(model)
        if needed > memory_fit.bytes_available(placement.device, placement.gpu_memory):
            log.info("%.1f GB would be needed to unpack the weights: they stay as released", needed / 1e9)
            gptq.keep_packed(model, released, placement.dtype)
    return {}


def _weights(goal: Goal) -> int:
    return sum(torch.Size(part.shape).numel() for part in goal.parts)


def _read(reader: Reader, goal: Goal, out: Tensor, adapter: Adapter | None) -> None:
    begin, shape = 0, goal.part_shape(out.shape)
    for part, some in zip(goal.parts, out.detach().view(len(goal.parts), -1), strict=True):
        rows = some.view(shape)
        if isinstance(part, Packed):
            gptq.unpack(part, reader, rows.view(part.shape))
        elif adapter is not None and goal.name in adapter.changes:  # in the files' type, as a merged folder has it
            values = torch.empty(rows.shape, dtype=part.dtype)
            reader.read(part, values)
            adapter.change(goal.name, values, begin)
            rows.copy_(values)
        else:
            reader.read(part, rows)
        begin += len(rows)


def _module(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    parent, _, leaf = name.rpartition(".")
    return model.get_submodule(parent), leaf


def _tie(model: Ovis, filled: set[str]) -> None:
    """One parameter for two names, where the config ties them and the file has no other values for the second."""
    for name, source in model.all_tied_weights_keys.items():
        (module, leaf), value = _module(model, name), model.get_parameter(source)
        if name not in filled or torch.equal(getattr(module, leaf), value):
            setattr(module, leaf, value)
