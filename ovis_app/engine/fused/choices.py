"""A step that is tried against another one chooses experts as that one does: near a tie rounding alone decides, and after
48 layers of random experts two steps that are both right end anywhere.

So the step in torch computes with the experts that the other chose, whose shares are its own, and they have to be about
as probable, by its own scores, as the best. Knows mixtures; refuses to know who computes with them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from ovis_app.engine.decode_step import DecodeStep, Mixture

# How much less probable than the best the experts of one row in one layer may be, and all of them in the mean.
LACKING, LACKING_MEAN = 0.3, 0.02


@dataclass(frozen=True)
class Heard(Mixture):
    """A mixture that tells `choices` which experts its rows get, [rows, chosen]."""

    choices: list[Tensor]

    def of(self, rows: Tensor) -> Tensor:
        self.choices.append(self.chances(rows).topk(self.chosen).indices)
        return super().of(rows)


@dataclass(frozen=True)
class Led(Mixture):
    """A mixture whose rows get the `experts` that it is told; `lacking` hears how much less probable these are than those
    that they would have got, as a share [rows]."""

    experts: Tensor
    lacking: list[Tensor]

    def of(self, rows: Tensor) -> Tensor:
        chances, experts = self.chances(rows), self.experts[: len(rows)].long()
        best = chances.topk(self.chosen).values.sum(-1)
        once = torch.zeros_like(chances).scatter_(-1, experts, 1.0)  # an expert that is named twice is one
        self.lacking.append(1 - (chances * once).sum(-1) / best)
        shares = chances.gather(-1, experts)
        if self.renormed:
            shares = shares / shares.sum(-1, keepdim=True)
        return cast(Tensor, self.block.get_submodule("experts")(rows, experts, shares.to(rows.dtype)))


def heard(step: DecodeStep) -> tuple[DecodeStep, list[Tensor]]:
    """The same step, and the experts that its rows get once it computes, [rows, chosen] for each mixture."""
    choices: list[Tensor] = []
    return _with(step, [Heard(feed.block, choices) for feed in _mixtures(step)]), choices


def led(step: DecodeStep, choices: Sequence[Tensor]) -> tuple[DecodeStep, list[Tensor]]:
    """The same step by the experts that `choices` [rows, chosen] name for each mixture, and what these lack."""
    lacking: list[Tensor] = []
    feeds = zip(_mixtures(step), choices, strict=True)
    return _with(step, [Led(feed.block, experts, lacking) for feed, experts in feeds]), lacking


def _mixtures(step: DecodeStep) -> list[Mixture]:
    return [layer.feed for layer in step.layers if isinstance(layer.feed, Mixture)]


def _with(step: DecodeStep, mixtures: Sequence[Mixture]) -> DecodeStep:
    other, following = copy.copy(step), iter(mixtures)
    other.layers = [
        replace(layer, feed=next(following)) if isinstance(layer.feed, Mixture) else layer for layer in step.layers
    ]
    return other


def improbable(lacking: Sequence[Tensor], what: str) -> str:
    """Why experts aren't those of the step in torch; empty where they are, or as good."""
    lost = torch.stack(list(lacking)) if lacking else torch.zeros(1)
    if float(lost.max()) <= LACKING and float(lost.mean()) <= LACKING_MEAN:
        return ""
    return f"its experts for {what} are up to {float(lost.max()):.1%} less probable than those in torch"
