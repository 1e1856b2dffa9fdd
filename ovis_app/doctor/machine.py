"""This machine for a model: which device, in what precision, which attention, and whether memory is enough. Nothing is
loaded for it, and nothing computed.

Knows devices and sizes; refuses to know a checkpoint's files.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from transformers.utils.import_utils import is_flash_attn_2_available

from ovis_app import settings as settings_module
from ovis_app.checkpoints import memory_fit
from ovis_app.checkpoints.memory_fit import Fit, refuse_what_cannot_fit
from ovis_app.checkpoints.placement import Placement
from ovis_app.doctor.finding import Finding, judged, not_judged
from ovis_app.errors import BackendError
from ovis_app.models.devices import SMALL, choose_attention, cpu_has_bfloat16
from ovis_app.settings import Settings
from ovis_app.zoo import ModelSpec

UNUSED_CARD = "install a PyTorch that is made for CUDA, and its driver; where both are there, report this table"


def placement_of(spec: ModelSpec, settings: Settings) -> Placement:
    """Raises BackendError for a device that isn't there."""
    return Placement.choose(
        spec, device=settings.device, dtype=settings.dtype, quantize=settings.quantize, gpu_memory=settings.gpu_memory
    )


def findings(spec: ModelSpec, settings: Settings) -> Iterator[Finding]:
    """The last of them says that it failed where the model can't be put here."""
    try:
        placement = placement_of(spec, settings)
    except BackendError as error:
        yield Finding("device", "failed", str(error))
        return
    yield device(placement, settings, has_card=settings_module.NVIDIA.exists())
    if spec.refused:
        return
    yield precision(placement, spec, settings)
    if spec.guessed:
        yield not_judged("memory", "its name doesn't tell how large it is")
    else:
        yield memory(spec, placement)


def device(placement: Placement, settings: Settings, *, has_card: bool) -> Finding:
    """Where it runs; a card that is there and can't be used is worth a line."""
    place, build = placement.device, f"torch {torch.__version__}"
    if place.startswith("cuda"):
        card = torch.cuda.get_device_properties(place)
        return Finding("device", "ok", f"{card.name}, {card.total_memory / 1e9:.0f} GB, {build}")
    asked = settings.device not in ("auto", "cuda") and not settings.device.startswith("cuda:")
    said = f"{place}, {'as was asked for' if asked else 'there is no GPU that this torch sees'}; {build}"
    return judged(
        "device", said, "the NVIDIA card of this machine", same=asked or not has_card, does="computes without the card",
        report=UNUSED_CARD,
    )  # fmt: skip


def precision(placement: Placement, spec: ModelSpec, settings: Settings) -> Finding:
    """In what the model computes, and why."""
    if settings.dtype != "auto":
        why = "as was asked for"
    elif placement.device.startswith("cuda"):
        fast = placement.dtype == torch.bfloat16
        why = "which the card computes" if fast else "as the card has no bfloat16 of its own"
    elif 0 < spec.parameters < SMALL:
        why = "as the model is small"
    else:
        why = f"as the processor {'multiplies bfloat16 itself' if cpu_has_bfloat16() else 'has no bfloat16 of its own'}"
    bits = "" if placement.quantize == "none" else f", the language model in {placement.quantize}"
    return Finding("precision", "ok", f"{str(placement.dtype).removeprefix('torch.')}, {why}{bits}")


def attention(model_type: str, placement: Placement) -> Finding:
    """What computes a prompt's attention, and why; what computes new tokens shows once the model is loaded."""
    chosen = choose_attention(model_type, placement.device, placement.dtype)
    if chosen == "eager":
        why = "which caps its logits as Gemma 2 wants it"
    elif chosen != "sdpa":
        why = "which is installed and runs here"
    else:
        lacking = not is_flash_attn_2_available()
        why = "as flash attention isn't installed" if lacking else "as flash attention doesn't run on this device"
    return Finding("attention kernel", "ok", f"{chosen}, {why}")


def memory(spec: ModelSpec, placement: Placement) -> Finding:
    """Whether the model fits beside what else is loaded."""
    fit = memory_fit.fit(spec, placement)
    said, verdict = _sizes(fit), fit.verdict
    if verdict == "too big":
        try:
            refuse_what_cannot_fit(spec, placement)
        except BackendError as error:
            return Finding(
                "memory", "failed", said, f"{fit.least / 1e9:.1f} GB for a short talk", f"refuses it: {error}"
            )
    return judged(
        "memory", said, "room for all of its context", same=verdict == "fits",
        does="answers, and refuses conversations that have no room", report="nothing, unless what is free is wrong",
    )  # fmt: skip


def _sizes(fit: Fit) -> str:
    parts = f"{fit.weights / 1e9:.1f} of weights, {fit.cache / 1e9:.1f} of context, {fit.vision / 1e9:.1f} for pictures"
    return f"needs {fit.needed / 1e9:.1f} GB ({parts}), {fit.available / 1e9:.1f} free"
