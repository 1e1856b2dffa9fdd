"""Steps that choose among experts, tried against one another. Near a tie rounding alone decides, and after 48 layers of
random experts two steps that are both right end anywhere.

So the step in torch computes with the experts and the shares that the other chose. The experts have to be about as
probable, by its own scores, as the best, and their shares about its own. Knows mixtures; refuses to know who computes
with them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from ovis_app.engine.decode_step import DecodeStep, Mixture

# How much less probable than the best the experts of one row in one layer may be, and how far their shares may be from
# those that they should have; and the same in the mean. With 48 layers of random weights, of two sizes, rounding to
# bfloat16 made at most 0.05 and 0.32, and in the mean 0.0014 and 0.05.
LACKING, LACKING_MEAN = 0.3, 0.02
APART, APART_MEAN = 0.8, 0.15


@dataclass(frozen=True)
class Routing:
    """Names of experts and their shares [rows, chosen]."""

    experts: Tensor
    shares: Tensor


@dataclass(frozen=True)
class Doubts:
    """What speaks against each mixture's routings: shares of the whole, [rows]."""

    lacking: list[Tensor]
    apart: list[Tensor]


@dataclass(frozen=True)
class Heard(Mixture):
    """A mixture that tells `routings` what its rows get."""

    routings: list[Routing]

    def of(self, rows: Tensor) -> Tensor:
        chances = self.chances(rows)
        experts = chances.topk(self.chosen).indices
        self.routings.append(Routing(experts, self.shares(chances, experts)))
        return super().of(rows)


@dataclass(frozen=True)
class Led(Mixture):
    """A mixture whose rows get what they are told by `routing`; `doubts` hears what speaks against it."""

    routing: Routing
    doubts: Doubts

    def of(self, rows: Tensor) -> Tensor:
        chances, experts = self.chances(rows), self.routing.experts[: len(rows)].long()
        shares = self.routing.shares[: len(rows)]
        once = torch.zeros_like(chances).scatter_(-1, experts, 1.0)  # an expert that is named twice is one
        best = chances.topk(self.chosen).values.sum(-1)
        self.doubts.lacking.append(1 - (chances * once).sum(-1) / best)
        own = self.shares(chances, experts)
        self.doubts.apart.append((shares - own).abs().sum(-1) / own.sum(-1))
        return cast(Tensor, self.block.get_submodule("experts")(rows, experts, shares.to(rows.dtype)))


def heard(step: DecodeStep) -> tuple[DecodeStep, list[Routing]]:
    """The same step, and what the rows of each mixture get once it computes."""
    routings: list[Routing] = []
    return _with(step, [Heard(feed.block, routings) for feed in _mixtures(step)]), routings


def led(step: DecodeStep, routings: Sequence[Routing]) -> tuple[DecodeStep, Doubts]:
    """The same step by the routings for each mixture, and what speaks against them once it has computed."""
    doubts, feeds = Doubts([], []), zip(_mixtures(step), routings, strict=True)
    return _with(step, [Led(feed.block, routing, doubts) for feed, routing in feeds]), doubts


def _mixtures(step: DecodeStep) -> list[Mixture]:
    return [layer.feed for layer in step.layers if isinstance(layer.feed, Mixture)]


def _with(step: DecodeStep, mixtures: Sequence[Mixture]) -> DecodeStep:
    other, following = copy.copy(step), iter(mixtures)
    other.layers = [
        replace(layer, feed=next(following)) if isinstance(layer.feed, Mixture) else layer for layer in step.layers
    ]
    return other


def doubtful(doubts: Doubts, what: str) -> str:
    """Why routings aren't those of the step in torch, in a few words; empty where they are, or as good."""
    lacking, apart = (torch.stack(values) if values else torch.zeros(1) for values in (doubts.lacking, doubts.apart))
    if not (float(lacking.max()) <= LACKING and float(lacking.mean()) <= LACKING_MEAN):
        return f"its experts for {what} are up to {float(lacking.max()):.1%} less probable than those in torch"
    if not (float(apart.max()) <= APART and float(apart.mean()) <= APART_MEAN):
        return f"the shares of its experts for {what} are up to {float(apart.max()):.1%} apart from those in torch"
    return ""
