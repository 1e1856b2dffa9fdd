"""How a fused step launches a mixture of experts: three kernels behind the router's product. Knows weights and kernels;
refuses to know what is before and behind it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ovis_app.engine.decode_step import DecodeStep, Mixture
from ovis_app.engine.fused import expert_kernels as kernels
from ovis_app.engine.fused.tiles import MOST_SPLITS, WARPS, Tile, power_of_two

ROUTE_WARPS = 8  # one program has a whole row, and compares each expert with each


class Experts:
    """Kernels of all mixtures of one step, with buffers for `rows` rows, of which `own` are routed by our product."""

    def __init__(self, step: DecodeStep, feed: Mixture, *, rows: int, own: int, processors: int) -> None:
        """All mixtures are like `feed`."""
        self.count, double, self.hidden = feed.gate_up.shape
        self.forward, self.chosen, self.eps = double // 2, feed.chosen, step.eps
        self.width = self.chosen * self.forward  # of a row's activations
        self.router, self.gate_up, self.down = (
            Tile.of(outputs, inputs, itemsize=step.norm.itemsize, plain=plain, most_splits=most, processors=processors)
            for outputs, inputs, plain, most in (
                (self.count, self.hidden, False, MOST_SPLITS),
                (self.forward, self.hidden, False, 1),
                (self.hidden, self.width, True, MOST_SPLITS),
            )
        )
        self.scores = step.norm.new_zeros(self.router.splits * own * self.count, dtype=torch.float32)
        # Each layer's are kept: a trial asks for them.
        self.experts = step.norm.new_zeros((len(step.layers), rows, self.chosen), dtype=torch.int32)
        self.shares = torch.zeros_like(self.experts, dtype=torch.float32)

    def route(self, number: int, feed: Mixture, scores: Tensor, rows: int, normed: Tensor) -> None:
        """Experts and shares by whole `scores` [rows, experts] of `normed` rows."""
        self._route(number, feed, scores, 1, rows, normed, normed, None)

    def route_and_norm(
        self, number: int, feed: Mixture, rows: int, residual: Tensor, norm: Tensor, normed: Tensor
    ) -> None:
        """The same by the splits of our own product, and `normed` from the `residual`."""
        self._route(number, feed, self.scores, self.router.splits, rows, normed, residual, norm)

    def _route(
        self, number: int, feed: Mixture, scores: Tensor, parts: int, rows: int, normed: Tensor, residual: Tensor,
        norm: Tensor | None,
    ) -> None:  # fmt: skip
        kernels.route[(rows,)](
            scores, residual, normed if norm is None else norm, normed, self.experts[number], self.shares[number],
            self.eps, rows,
            COUNT=self.count, PADDED=power_of_two(self.count), CHOSEN=self.chosen, PARTS=parts, WHOLE=feed.renormed,
            NORM=norm is not None, SCALED=parts > 1, K=self.hidden, TILE=power_of_two(self.hidden),
            num_warps=ROUTE_WARPS,
        )  # fmt: skip

    def activate(self, number: int, feed: Mixture, rows: int, normed: Tensor, acts: Tensor) -> None:
        """`acts` [rows, chosen, forward] of `normed` rows."""
        tile = self.gate_up
        kernels.experts_gate_up[(rows * self.chosen, -(-self.forward // tile.n))](
            normed, self.experts[number], feed.gate_up, acts, N=self.forward, K=self.hidden, CHOSEN=self.chosen,
            TILE_N=tile.n, TILE_K=tile.k, LANE=tile.lane, num_warps=WARPS,
        )  # fmt: skip

    def add_up(self, number: int, feed: Mixture, rows: int, acts: Tensor, out: Tensor, *, splits: int) -> None:
        """`out` [splits, rows, hidden] of `acts`, by each expert's share."""
        tile = self.down
        kernels.experts_down[(rows, -(-self.hidden // tile.n), splits)](
            acts, self.experts[number], self.shares[number], feed.down, out, rows, N=self.hidden, K=self.forward,
            CHOSEN=self.chosen, SPLITS=splits, TILE_N=tile.n, TILE_K=tile.k, LANE=math.gcd(tile.lane, self.forward),
            num_warps=WARPS,
        )  # fmt: skip
