"""The model of a process that has no GPU itself, and forks others that have one.

`place` loads it onto the GPU by name; nothing else of CUDA happens in this process, and no question is put to it.
Refuses to know who forks, and how an answer is made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from torch import nn

from ovis_app import zoo
from ovis_app.backend import Resources
from ovis_app.backends.gpu_time import CARDS, GpuTime, ModelCost
from ovis_app.backends.local import model_pool
from ovis_app.backends.local.model_pool import LoadedModel, Ready
from ovis_app.checkpoints import memory_fit
from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.checkpoints.hub import folder_of, no_progress
from ovis_app.checkpoints.placement import Placement
from ovis_app.engine.capabilities import Capabilities
from ovis_app.engine.kv_pool import KVShape
from ovis_app.errors import BackendError
from ovis_app.limits import Limits
from ovis_app.models.devices import DTYPES
from ovis_app.settings import Settings
from ovis_app.zoo import ModelSpec

GPU = "cuda:0"  # by number: of plain "cuda" it would be asked how many there are
REMEMBERS_NOTHING = "nothing is remembered between questions"
PATCHES = 4  # of the tower in a visual token
ATTENTION = 2.5  # times what a tower's weights multiply, with the attention among a large picture's patches


@dataclass(frozen=True)
class Placed:
    """A model in place, and how it is to answer: what a forked process finds."""

    loaded: LoadedModel
    settings: Settings
    limits: Limits

    @property
    def engine(self) -> str:
        """How its answers are made, in a few words."""
        return f"{Capabilities.of(self.loaded.model, record=False)}; {REMEMBERS_NOTHING}"

    @property
    def resources(self) -> Resources:
        """Who will get how much memory of the GPU: one conversation has it."""
        cost, loaded = cost_of(self.loaded), self.loaded
        conversation = loaded.context * cost.kv_bytes
        return Resources(cost.bytes, conversation, loaded.context, memory_fit.working_memory(loaded.model))

    @property
    def time(self) -> GpuTime:
        """What its answers take, as far as that is known before the first."""
        return GpuTime(cost_of(self.loaded), CARDS[self.settings.zerogpu_size])


_placed: Placed | None = None  # written once, before anything is forked


def place(settings: Settings, limits: Limits) -> Placed:
    """Loads the model, on the GPU by name, once and for every process that is forked from here. Raises BackendError."""
    global _placed
    spec, size = zoo.adapted(settings.model, settings.adapter), settings.zerogpu_size
    if settings.quantize != "none":
        raise BackendError(
            "Weights can't be quantized on ZeroGPU, where the GPU comes after they are loaded: unset OVIS_QUANTIZE, "
            "and set OVIS_ZEROGPU_SIZE to xlarge where the model is too large."
        )
    device = GPU if settings.device == "auto" else settings.device
    placement = Placement(device, DTYPES["bfloat16" if settings.dtype == "auto" else settings.dtype])
    if not spec.guessed:
        _refuse_what_cannot_fit(spec, placement, size)
    checkpoint = Checkpoint.read(folder_of(spec, no_progress), spec.name, base=spec)
    if spec.guessed:  # the name told little, the files tell all
        spec = model_pool.told(spec, checkpoint)
        _refuse_what_cannot_fit(spec, placement, size)
    loaded = model_pool.load_ready(Ready(spec, placement, checkpoint))
    way = "plain" if settings.engine == "plain" else "solo"
    _placed = Placed(loaded, replace(settings, engine=way, prefix_cache=0, visual_cache=0), limits)
    return _placed


def _refuse_what_cannot_fit(spec: ModelSpec, placement: Placement, size: str) -> None:
    """Raises BackendError, before any download, where the size of GPU that was chosen is too small. What was released
    in fewer bits is unpacked: there is no card to ask whether that fits."""
    spec = replace(spec, quantization="")

    def fits(name: str) -> bool:
        return memory_fit.fit(spec, placement, available=CARDS[name].memory).verdict != "too big"

    if not fits(size):
        larger = next((name for name in CARDS if fits(name)), "")
        advice = f"set OVIS_ZEROGPU_SIZE to {larger}" if larger else "choose a smaller model in OVIS_MODEL"
        have = CARDS[size].memory / 1e9
        raise BackendError(f"{spec.name} doesn't fit into the {have:.0f} GB of ZeroGPU's size {size}: {advice}.")


def cost_of(loaded: LoadedModel) -> ModelCost:
    """What a model's answers cost, counted on its own weights."""
    model = loaded.model
    config: Any = model.llm.config.get_text_config()
    body, head = model.llm.get_submodule("model.layers"), model.llm.get_output_embeddings()
    used = config.num_experts_per_tok / config.num_experts if hasattr(config, "num_experts") else 1  # of experts
    layers = sum(round(value.numel() * (used if ".experts." in name else 1)) for name, value in body.named_parameters())
    words = sum(value.numel() for value in cast(nn.Module, head).parameters())
    tower = sum(value.numel() for value in model.visual_tokenizer.parameters())
    return ModelCost(
        bytes=sum(value.nbytes for value in model.parameters()),
        step_bytes=(layers + words) * model.dtype.itemsize,
        token_flops=2.0 * layers,
        visual_flops=2.0 * (tower * PATCHES * ATTENTION + model.vte.weight.numel()),
        kv_bytes=KVShape.of(config).token_bytes(model.dtype),
        layers=config.num_hidden_layers,
    )


def here() -> Placed:
    """What was placed, in this process or in the one that forked it."""
    assert _placed is not None, "place comes first"
    return _placed
