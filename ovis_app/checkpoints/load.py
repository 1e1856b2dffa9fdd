"""A checkpoint folder to a model that answers: an empty model, every tensor read into its place, spread over devices.

Knows which tensor belongs where and says what is wrong with a checkpoint in a sentence; refuses to know requests.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.initialization import no_init_weights

from ovis_app.checkpoints import bitsandbytes, device_map, gptq, hf_names
from ovis_app.checkpoints.hub import Progress, amount, unheard
from ovis_app.checkpoints.safetensors import Damaged, Reader, Stored, Unknown, stored
from ovis_app.generation import BackendError
from ovis_app.models.config import BROKEN, OvisConfig, called
from ovis_app.models.devices import choose_attention
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.ovis import Ovis
from ovis_app.models.preprocess.values import Visual

log = logging.getLogger(__name__)

Place = Callable[[str], tuple[str, int, int]]  # a tensor's name -> a parameter's name, part, parts
# A tensor that no model can do without. The name is a stranger's: atomic, so that it is walked through once.
LAYER = re.compile(r"^(?>.*?\.(?:layers|blocks)\.\d+\.).*(?:weight|bias)$")
PLACES: dict[str, Place] = {"released": lambda name: (name, 0, 1), "hf": hf_names.place}


@dataclass(frozen=True)
class Goal:
    """A parameter, and the tensors that fill it: more than one where our module fuses what the file keeps apart."""

    name: str
    parts: tuple[Stored, ...]


def load(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    quantize: str = "none",
    progress: Progress = unheard,
) -> Ovis:
    """The model of a checkpoint folder, ready to answer. `progress` hears of the bytes that are read; what it raises
    passes through. Raises BackendError with a sentence for people."""
    config, tensors = _read_facts(folder)
    config.llm_config._attn_implementation = choose_attention(config.llm_config.model_type, device, dtype)
    if config.quantization is not None:
        model = gptq.load(folder, config, dtype=dtype, device=device)
    else:
        model = skeleton(config, dtype)
        with _sentences(folder):
            _fill(
                model, _goals(model, tensors, PLACES[config.layout], folder), device, quantize, progress, called(folder)
            )
    model.llm.generation_config = GenerationConfig()  # sampling is the request's affair, not the checkpoint's
    return model.eval()


def check(folder: Path) -> OvisConfig:
    """The config of a checkpoint folder, once all is right that can be known before the weights are read: every shard
    is there, whole by its header, and of the shapes that the config asks for, and a model of shapes alone can look at a
    picture. Takes no memory. Raises BackendError."""
    config, tensors = _read_facts(folder)
    if config.quantization is not None:
        return config
    try:
        if _layers(config) > len(tensors):
            raise _unfit(folder, _layers(config) - len(tensors))
        with torch.device("meta"):  # not `skeleton`, which would touch what other threads share
            model = Ovis(config)
        _goals(model, tensors, PLACES[config.layout], folder)
        _look(model, config)
    except BackendError:
        raise
    except Exception as error:  # what a config's nonsense leads to is of many kinds
        raise BackendError(BROKEN) from error
    return config


def _layers(config: OvisConfig) -> int:
    """How many layers the config asks for: before they are built, which takes for ever for a million."""
    return int(config.llm_config.num_hidden_layers) + int(config.vision_config.get("num_hidden_layers") or 0)


@torch.inference_mode()
def _look(model: Ovis, config: OvisConfig) -> None:
    """Takes a picture through a model on the meta device, where nothing is computed and every size must fit."""
    pixels = FAMILIES[config.family].pixels(config, Visual("image", (Image.new("RGB", (8, 8)),), max_partition=1))
    model.encode(pixels.values.to("meta"), pixels.grids)


def _read_facts(folder: Path) -> tuple[OvisConfig, dict[str, Stored]]:
    """What the config and the headers say. Raises BackendError."""
    return OvisConfig.read(folder), _stored(folder)


def skeleton(config: OvisConfig, dtype: torch.dtype) -> Ovis:
    """The model with parameters that were never written, which take no memory yet; its buffers are right."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with no_init_weights():
            return Ovis(config).requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


def _stored(folder: Path) -> dict[str, Stored]:
    """The folder's tensors. Raises BackendError."""
    try:
        with _sentences(folder):
            return stored(folder)
    except FileNotFoundError as error:
        raise BackendError(
            f"{called(folder)} has no .safetensors weights; other formats could run code and are not loaded."
        ) from error
    except OSError as error:
        raise BackendError(f"The weights in {called(folder)} can't be read: check their permissions.") from error


@contextmanager
def _sentences(folder: Path) -> Iterator[None]:
    """What is wrong with a file, for people. A file of the hub's cache that was never written to its end is removed, so
    that the next try downloads it anew."""
    try:
        yield
    except Damaged as error:
        again = error.half and folder.parent.name == "snapshots"
        if again:
            error.file.resolve().unlink(missing_ok=True)
            error.file.unlink(missing_ok=True)
        advice = "it will be downloaded again at the next try" if again else "download it again"
        raise BackendError(f"The weights in {called(folder)} are damaged: {error}; {advice}.") from error
    except Unknown as error:
        raise BackendError(f"In {called(folder)}, {error}, which this app can't read: choose another model.") from error


def _goals(model: Ovis, tensors: Mapping[str, Stored], place: Place, folder: Path) -> list[Goal]:
    """Which tensors go where, in the order of the files. Raises BackendError where they don't fit the model."""
    slots = dict(model.named_parameters(remove_duplicate=False))
    parts: dict[str, dict[int, Stored]] = {}
    wrong = 0
    for name, tensor in tensors.items():
        goal, part, count = place(name)
        if goal not in slots:  # heads of the tower and the like, which the originals don't use either
            wrong += LAYER.search(goal) is not None  # but not a layer, which was trained to be used
            continue
        wrong += torch.Size(tensor.shape).numel() * count != slots[goal].numel()
        wrong += tensor.shape[-1:] != slots[goal].shape[-1:]
        parts.setdefault(goal, {})[part] = tensor
    tied = model.all_tied_weights_keys
    missing = [name for name in slots if name not in parts and tied.get(name) not in parts]
    if wrong or missing:
        log.info("missing: %s", missing[:20])
        raise _unfit(folder, wrong + len(missing))
    return [Goal(name, tuple(found[part] for part in sorted(found))) for name, found in parts.items()]


def _unfit(folder: Path, differ: int) -> BackendError:
    return BackendError(
        f"The weights in {called(folder)} don't fit its config.json ({differ} tensors differ): "
        "download it again, or choose another checkpoint."
    )


def _fill(model: Ovis, goals: list[Goal], device: str, bits: str, progress: Progress, name: str) -> None:
    """Reads everything into its place, on its device, quantized where asked."""
    total = sum(part.end - part.begin for goal in goals for part in goal.parts)
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        progress(f"Loading {name}: {amount(done, total)}", done / total)

    small = {f"llm.{weight}" for weight in bitsandbytes.prepare(model.llm, bits, device)} if bits != "none" else set()
    devices = device_map.devices(model, device, small, bits)
    with Reader(told) as reader:
        for goal in goals:
            where = devices(goal.name)
            module, leaf = _module(model, goal.name)
            if goal.name in small:
                shape = goal.parts[0].shape
                full = torch.empty(shape, dtype=model.vte.weight.dtype)
                reader.read(goal.parts[0], full)
                bitsandbytes.put(module, full, where)
                continue
            value = getattr(module, leaf)
            out = value if where.type == "cpu" else torch.empty(value.shape, dtype=value.dtype, device=where)
            _read(reader, goal, out)
            if out is not value:
                setattr(module, leaf, nn.Parameter(out, requires_grad=False))
    _tie(model, {goal.name for goal in goals})
    device_map.finish(model, devices)


def _read(reader: Reader, goal: Goal, out: Tensor) -> None:
    for part, rows in zip(goal.parts, out.detach().chunk(len(goal.parts)), strict=True):
        reader.read(part, rows)


def _module(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    parent, _, leaf = name.rpartition(".")
    return model.get_submodule(parent), leaf


def _tie(model: Ovis, filled: set[str]) -> None:
    """One parameter for two names, where the config ties them and the file has no other values for the second."""
    for name, source in model.all_tied_weights_keys.items():
        (module, leaf), value = _module(model, name), model.get_parameter(source)
        if name not in filled or torch.equal(getattr(module, leaf), value):
            setattr(module, leaf, value)
