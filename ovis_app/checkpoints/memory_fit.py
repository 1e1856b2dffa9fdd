"""How much memory a model needs and how much there is, before anything is downloaded; and what to do where it can't
fit. Knows sizes, loads nothing.

An estimate: weights, keys and values of the conversation, the vision tower at work, and something for everything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import psutil
import torch

from ovis_app import zoo
from ovis_app.checkpoints.placement import Placement
from ovis_app.errors import BackendError
from ovis_app.models.devices import SMALL
from ovis_app.models.ovis import PATCHES, SOFTMAX_ROWS, Ovis
from ovis_app.zoo import LanguageModel, ModelSpec

EXPERTS_STAY = (
    "{name} is {size:.1f} GB, nearly all of it experts, which can't be quantized here: leave --quantize out, or choose "
    "another model."
)

Verdict = Literal["fits", "tight", "too big"]

QUANTIZE = ("int8", "int4")  # from the better to the smaller
BITS = {"int8": 8.1, "int4": 4.5}  # a quantized parameter with its share of the scales
SHORT = 4096  # tokens of a conversation without which a model is of no use
RESERVE = 0.5e9  # activations of a long prompt, allocator, logits
SMALL_RESERVE = 0.05e9  # the same for a model of some megabytes
PIXELS_A_PATCH = 16 * 16
ROW = 14  # widths of the tower that a patch takes at work; measured: 14 in bfloat16, 9 in float32


@dataclass(frozen=True)
class Fit:
    """Bytes needed and available on the device that was chosen."""

    weights: int
    cache: int  # keys and values of a full context
    short_cache: int  # the same for a short conversation
    vision: int  # the tower at its micro-batch and the visual softmax
    reserve: int
    available: int

    @property
    def least(self) -> int:
        """What it takes to load the model and talk a little."""
        return self.weights + self.short_cache + self.vision + self.reserve

    @property
    def needed(self) -> int:
        """What it takes to use all of the context."""
        return self.least - self.short_cache + self.cache

    @property
    def verdict(self) -> Verdict:
        """ "tight": the weights fit, with little room for long conversations."""
        if self.needed <= self.available:
            return "fits"
        return "tight" if self.least <= self.available else "too big"


def fit(spec: ModelSpec, placement: Placement, *, freed: int = 0, available: int | None = None) -> Fit:
    """How a model would do. `freed` bytes are counted as available: what the model that it replaces holds. `available`
    bytes are there where the device can't be asked."""
    place, size, llm = placement.device, placement.dtype.itemsize, spec.llm or alike(spec)
    return Fit(
        weights=weights(spec, llm, size, placement.quantize),
        cache=llm.cache(spec.context, size),
        short_cache=llm.cache(min(spec.context, SHORT), size),
        vision=_vision(spec, size),
        reserve=reserve(spec.parameters),
        available=(bytes_available(place, placement.gpu_memory) if available is None else available) + freed,
    )


def refuse_what_cannot_fit(spec: ModelSpec, placement: Placement, *, freed: int = 0) -> None:
    """Raises BackendError, before any download, when a model can't be used with the memory that is free, or will be
    once `freed` bytes are given back, or can't be used at all."""
    if spec.refused:
        raise BackendError(spec.refused)
    if placement.quantize != "none" and spec.llm is not None and spec.llm.active:
        raise BackendError(EXPERTS_STAY.format(name=spec.name, size=spec.bytes / 1e9))
    found = fit(spec, placement, freed=freed)
    if found.verdict == "too big":
        advice = ", or ".join(_advice(spec, placement, freed)) or "use a larger machine"
        raise BackendError(
            f"{spec.name} needs about {found.least / 1e9:.0f} GB and {found.available / 1e9:.0f} GB are free: {advice}."
        )


def _advice(spec: ModelSpec, placement: Placement, freed: int) -> list[str]:
    """What would fit in place of a model that can't."""

    def fits(row: ModelSpec, way: Placement = placement) -> bool:
        return fit(row, way, freed=freed).verdict != "too big"

    advice = []
    if placement.dtype == torch.float32 and fits(spec, placement.with_dtype(torch.bfloat16)):
        advice.append("add --dtype bfloat16")
    elif placement.device != "mps" and not (spec.llm is not None and spec.llm.active):
        ways = [bits for bits in QUANTIZE if fits(spec, placement.with_quantize(bits))]
        advice += [f"add --quantize {bits}" for bits in ways[:1]]
    smaller = [row for row in zoo.MODELS if not (row.bundled or row.quantization or row.alone) and fits(row)]
    if smaller:
        advice.append(f"try {max(smaller, key=lambda row: row.parameters).name}")
    return advice


def weights(spec: ModelSpec, llm: LanguageModel, itemsize: int, quantize: str) -> int:
    """Bytes of the weights once loaded. What was released in fewer bits stays so if need be; the rest was released in
    two bytes a weight."""
    linears = min(llm.linears, spec.parameters)
    others = 1e9 * (spec.parameters - linears)
    if quantize in BITS:
        return round(others * itemsize + 1e9 * linears * BITS[quantize] / 8)
    if spec.quantization:
        return spec.bytes + round(others * (itemsize - 2))
    return round(1e9 * spec.parameters * itemsize)


def token_bytes(spec: ModelSpec, placement: Placement) -> int:
    """Bytes of the weights that each new token reads; 0 where nobody knows. Keys and values come on top."""
    llm, size = spec.llm, placement.dtype.itemsize
    if llm is None or not llm.head:
        return 0
    linears = llm.active or min(llm.linears, spec.parameters)
    if placement.quantize in BITS:
        layers = 1e9 * linears * BITS[placement.quantize] / 8
    elif spec.quantization:
        layers = spec.bytes - 2e9 * (spec.parameters - llm.linears)
    else:
        layers = 1e9 * linears * size
    return round(layers + 1e9 * llm.head * size)


def _vision(spec: ModelSpec, itemsize: int) -> int:
    words = 0 if spec.parameters < SMALL else 65536
    return vision_peak(spec.context, spec.tower, words, itemsize, patches=picture_patches(spec))


def picture_patches(spec: ModelSpec) -> int:
    """Of the largest picture that a model was made for; a picture isn't divided, however large."""
    return max(spec.single.made_for or (0,)) // PIXELS_A_PATCH


def vision_peak(context: int, tower: int, words: int, itemsize: int, *, patches: int = 0) -> int:
    """Bytes at the tower's peak: a micro-batch of patches in a layer, or a picture of so many where that is more, then
    some rows of the visual softmax. `context` in tokens, `tower` its width, `words` of the visual vocabulary."""
    most = min(max(PATCHES, patches), context * 4)
    return most * tower * ROW * itemsize + SOFTMAX_ROWS * words * 4 * 3


def reserve(parameters: float) -> int:
    """Bytes for all that isn't estimated, beside a model of so many billions of parameters."""
    return round(RESERVE if parameters > SMALL else SMALL_RESERVE)


def working_memory(model: Ovis) -> int:
    """Bytes that must stay free beside a loaded model, whatever else takes memory: pictures are encoded in them."""
    config, parameters = model.config, sum(value.numel() for value in model.parameters()) / 1e9
    words = 0 if parameters < SMALL else config.visual_vocab_size
    peak = vision_peak(
        config.max_context, config.vision_config["hidden_size"], words, model.dtype.itemsize,
        patches=picture_patches(zoo.FAMILY_ROWS[config.family]),
    )  # fmt: skip
    return peak + reserve(parameters)


def beside_weights(model: Ovis) -> int:
    """Bytes that a model wants beside its weights: keys and values of a full context, and `working_memory`."""
    llm = model.config.llm_config
    heads = getattr(llm, "num_key_value_heads", None) or llm.num_attention_heads
    size = getattr(llm, "head_dim", None) or llm.hidden_size // llm.num_attention_heads
    cache = LanguageModel(llm.num_hidden_layers, heads, size, 0.0).cache(model.config.max_context, model.dtype.itemsize)
    return cache + working_memory(model)


def alike(spec: ModelSpec) -> LanguageModel:
    """The language model of the known row that is nearest in size."""
    rows = [row for row in zoo.MODELS if row.llm is not None and row.family == spec.family]
    nearest = min(rows, key=lambda row: abs(row.parameters - spec.parameters))
    assert nearest.llm is not None
    return nearest.llm


def bytes_available(device: str, gpu_memory: float = 1.0) -> int:
    """Free memory of this machine, or of a GPU, of all GPUs for plain "cuda", as far as `gpu_memory` of each allows."""
    if device.startswith("cuda"):
        places = [device] if ":" in device else [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        sizes = [torch.cuda.mem_get_info(place) for place in places]
        return sum(max(int(free - total * (1 - gpu_memory)), 0) for free, total in sizes)
    return int(psutil.virtual_memory().available)
