"""A Linear whose weight is kept as integers of 4 or 8 bits, with a scale and a zero point for each group of inputs.

Multiplies by the values that the integers stand for, in the type of the scales, on any device by torch's own
operations: all of the weight is unpacked anew for each product, which takes its memory for that long, and more time
than a weight that is unpacked already. Refuses to know files, and how weights are quantized.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class QuantizedLinear(nn.Module):
    """y = x W^T + b with W[o, i] = scales[o, g] * (integers[o, i] - zeros[o, g]), where g is the group of input i.

    Groups are as large as each other, and inputs stand in the order of their groups. Of 4 bits, a byte holds an integer
    of the first half of the inputs in its low bits and one of the second half in its high bits.
    """

    packed: Tensor  # [outputs, bytes]
    scales: Tensor  # [outputs, groups, 1]
    zeros: Tensor  # the same, or one for all
    order: Tensor | None  # [inputs]: which input is the first, where groups aren't in order
    bias: Tensor | None  # [outputs]

    def __init__(self, inputs: int, outputs: int, *, bits: int, groups: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bits, self.groups = inputs, outputs, bits, groups
        self.packed = _kept(torch.empty(outputs, inputs * bits // 8, dtype=torch.uint8))
        self.scales = _kept(torch.empty(outputs, groups, 1, dtype=dtype))
        self.zeros = _kept(torch.empty(1, 1, 1, dtype=dtype))
        self.register_parameter("order", None)
        self.register_parameter("bias", None)

    def describe(self, *, scales: Tensor, zeros: Tensor, order: Tensor | None) -> None:
        """Takes scales and zero points [outputs, groups], and the inputs in the order of their groups where that isn't
        theirs. One zero point for all, which symmetric quantization has, is kept once."""
        zeros = zeros[:1, :1] if bool((zeros == zeros[0, 0]).all()) else zeros
        self.scales = _kept(scales[..., None].to(self.scales.dtype))
        self.zeros = _kept(zeros[..., None].to(self.scales.dtype))
        self.order = None if order is None else _kept(order)

    def put(self, begin: int, integers: Tensor) -> None:
        """Takes integers [rows, inputs] of the outputs from `begin` on, bytes in the order of the groups."""
        if self.bits == 4:
            first, second = integers.chunk(2, dim=1)
            integers = first | (second << 4)
        self.packed[begin : begin + len(integers)] = integers

    def forward(self, x: Tensor) -> Tensor:
        if self.order is not None:
            x = x[..., self.order]
        return F.linear(x, self.unpacked(), self.bias)

    def unpacked(self) -> Tensor:
        """The weight [outputs, inputs], its inputs in the order of their groups."""
        return dequantized(self._integers(), self.scales, self.zeros)

    def _integers(self) -> Tensor:
        """[outputs, inputs] in the type of the scales: written half by half, since each step is a pass over it all."""
        if self.bits == 8:
            return self.packed.to(self.scales.dtype)
        halves = self.scales.new_empty(self.out_features, 2, self.in_features // 2)
        halves[:, 0] = self.packed & 15
        halves[:, 1] = self.packed >> 4
        return halves.view(self.out_features, self.in_features)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bits={self.bits}, groups={self.groups}"


def dequantized(integers: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    """What integers [outputs, inputs] in the order of their groups stand for, in their place, by scales and zero points
    [outputs, groups, 1]. All in one floating type, which holds the integers exactly."""
    groups = integers.view(len(integers), scales.shape[1], -1)
    return groups.sub_(zeros).mul_(scales).view(integers.shape)


def _kept(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)
