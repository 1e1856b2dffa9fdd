"""A model that may be changed to, as people are told of it: whether it fits, in which ways, and how fast it is at most.

Knows memory and its speed. Refuses to know which models there are, and which one is loaded.
"""

from __future__ import annotations

from ovis_app.backend import Offer, Resources, Way
from ovis_app.checkpoints import bitsandbytes, memory_fit
from ovis_app.checkpoints.placement import Placement
from ovis_app.models.memory_speed import bytes_a_second
from ovis_app.zoo import ModelSpec


def offered(spec: ModelSpec, placement: Placement, *, freed: int = 0, available: int | None = None) -> Offer:
    """The model where `freed` bytes are given back for it, or so many are `available`."""
    fit = memory_fit.fit(spec, placement, freed=freed, available=available)
    resources = Resources(fit.weights, fit.cache, spec.context, fit.vision + fit.reserve)
    obstacle = bitsandbytes.obstacle(placement.device)
    ways = []
    for quantize in ("none", *memory_fit.QUANTIZE):
        found = memory_fit.fit(spec, placement.with_quantize(quantize), available=fit.available)
        ways.append(Way(quantize, found.verdict, found.needed, "" if quantize == "none" else obstacle))
    return Offer(spec, fit.verdict, fit.needed, fit.available, resources, ways=tuple(ways))


def speed_of(spec: ModelSpec, placement: Placement, *, still: bool) -> float | None:
    """Tokens a second at most. On a CPU what is quantized waits for more than its memory."""
    needed = memory_fit.token_bytes(spec, placement)
    fewer = placement.quantize != "none" or spec.quantization != ""
    if not needed or (fewer and not placement.device.startswith("cuda")):
        return None
    speed = bytes_a_second(placement.device, still=still)
    return None if speed is None else speed / needed
