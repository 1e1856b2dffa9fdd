"""The experts of a language model: released one by one, held as two tensors a layer.

Knows their names and how a file of them may be wrong; refuses to know how bytes are read.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ovis_app.checkpoints.safetensors import Stored
from ovis_app.errors import BackendError

EXPERTS, ROUTER = ".mlp.experts.", ".mlp.gate.weight"
HELD = {"gate_proj": ("gate_up_proj", 0, 2), "up_proj": ("gate_up_proj", 1, 2), "down_proj": ("down_proj", 0, 1)}
MISSING = (
    "{name} lacks experts: layer {layer} has {found} of {all} tensors of theirs: download it again, or choose another "
    "checkpoint."
)
TWICE = "{name} has the experts of layer {layer} twice: download it again, or choose another checkpoint."
TOO_MANY = (
    "{name} has more experts than the {all} that its config.json names, as {tensor}: download it again, or choose "
    "another checkpoint."
)
OTHER_WIDTH = (
    "In {name}, the router of layer {layer} chooses among {found} experts, and config.json names {all}: download it "
    "again, or choose another checkpoint."
)

Place = tuple[str, int, int]


def merged(place: Place, experts: int) -> Place:
    """Where a tensor goes that is to go to `place`: the tensor that holds those of all experts, and which part of how
    many it is; `place` itself for what is of no expert."""
    stem, found, rest = place[0].partition(EXPERTS)
    number, _, leaf = rest.partition(".")
    if not found or not number.isdecimal() or leaf.removesuffix(".weight") not in HELD:
        return place
    whole, part, each = HELD[leaf.removesuffix(".weight")]
    if int(number) >= experts:
        return place
    return f"{stem}{EXPERTS}{whole}", int(number) * each + part, experts * each


def refuse_unknown(name: str, tensor: str, goal: str, experts: int) -> None:
    """Raises BackendError for a tensor of an expert that has no place in the model that people call `name`."""
    if experts and EXPERTS in goal:
        raise BackendError(TOO_MANY.format(name=name, all=experts, tensor=tensor[-100:]))


def refuse_twice(name: str, goal: str) -> None:
    """The same for one whose place was taken before."""
    if EXPERTS in goal:
        raise BackendError(TWICE.format(name=name, layer=_layer(goal)))


def check(name: str, model: nn.Module, routers: Mapping[str, Stored], lacking: Mapping[str, tuple[int, int]]) -> None:
    """Raises BackendError for a router of another width than the model's, and for experts that aren't there: `lacking`
    are parameters, with how many of their parts were found, and how many there are."""
    for goal, stored in routers.items():
        wanted = len(model.get_parameter(goal))
        if stored.shape[:1] != (wanted,):
            found = stored.shape[0] if stored.shape else 0
            raise BackendError(OTHER_WIDTH.format(name=name, layer=_layer(goal), found=found, all=wanted))
    for goal, (found, count) in lacking.items():
        if EXPERTS in goal:
            raise BackendError(MISSING.format(name=name, layer=_layer(goal), found=found, all=count))


def _layer(goal: str) -> str:
    return goal.partition(".layers.")[2].partition(".")[0]
