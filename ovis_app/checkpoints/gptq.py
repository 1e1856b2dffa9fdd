"""Checkpoints that were released quantized by GPTQ, in the layout of AutoGPTQ and gptqmodel: four tensors a Linear.

Knows how integers, scales and zero points lie in the files, and how they get into a module that keeps them or into a
plain weight; refuses to know where either is. Whole rows at a time, so that little else is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ovis_app.checkpoints.safetensors import Damaged, Reader, Stored
from ovis_app.errors import BackendError
from ovis_app.models.config import OvisConfig
from ovis_app.models.quantized_linear import QuantizedLinear, dequantized

BITS = (4, 8)
# What was taken off the zero points before they were written, by the config's checkpoint_format.
TAKEN_OFF = {"gptq": 1, "gptq_v2": 0}
INTEGERS, ZEROS, SCALES, GROUP_OF = "qweight", "qzeros", "scales", "g_idx"
PIECE = 2**21  # weights that are unpacked at a time


@dataclass(frozen=True)
class Packed(Stored):
    """A weight [outputs, inputs] as the files have it: its place is that of its integers, int32
    [inputs / (32 / bits), outputs]."""

    zeros: Stored  # int32 [groups, outputs / (32 / bits)]
    scales: Stored  # float [groups, outputs]
    group_of: Stored | None  # int32 [inputs]: the group of each input; None: they stand in order
    bits: int
    taken_off: int

    @property
    def groups(self) -> int:
        return self.scales.shape[0]

    @property
    def size(self) -> int:
        rest = (self.zeros, self.scales, *([] if self.group_of is None else [self.group_of]))
        return super().size + sum(part.size for part in rest)


@dataclass(frozen=True)
class Unpacked:
    """A weight's numbers, which are taken out of their words a few rows at a time."""

    words: Tensor  # int32 [inputs / (32 / bits), outputs]
    bits: int
    zeros: Tensor  # uint8 [outputs, groups]
    scales: Tensor  # [outputs, groups]
    order: Tensor | None  # [inputs]: the inputs in the order of their groups, where that isn't theirs

    def pieces(self) -> Iterator[tuple[int, Tensor]]:
        """The first row and integers [rows, inputs] of some outputs after the other, bytes in the order of the
        groups."""
        rows = max(PIECE * self.bits // 32 // len(self.words), 1)
        for begin in range(0, self.words.shape[1], rows):
            integers = _integers(self.words[:, begin : begin + rows].T, self.bits)
            yield begin, integers if self.order is None else integers[:, self.order]


def gathered(tensors: Mapping[str, Stored], config: OvisConfig, name: str) -> dict[str, Stored]:
    """The tensors of a checkpoint, in the place of every four that make up a weight that weight under its own name.
    `name` is what people call the model. Raises BackendError for another quantization, and where the four don't fit
    each other."""
    bits, taken_off = _format(config.quantization, name)
    found = dict(tensors)
    wrong = 0
    for key in [key for key in tensors if key.endswith(f".{INTEGERS}")]:
        stem = key.removesuffix(INTEGERS)
        parts = {part: found.pop(f"{stem}{part}", None) for part in (INTEGERS, ZEROS, SCALES, GROUP_OF)}
        packed = _packed(parts, bits, taken_off)
        wrong += packed is None
        if packed is not None:
            found[f"{stem}weight"] = packed
    if wrong:
        raise BackendError(
            f"The quantized weights in {name} don't fit together ({wrong} layers lack tensors, or have some of other "
            "shapes): download it again, or choose another checkpoint."
        )
    return found


def keep_packed(model: nn.Module, weights: Mapping[str, Packed], dtype: torch.dtype) -> None:
    """Puts modules that keep integers, without any yet, in the place of the Linear modules of these weights."""
    for name, packed in weights.items():
        path = name.removesuffix(".weight")
        outputs, inputs = packed.shape
        module = QuantizedLinear(inputs, outputs, bits=packed.bits, groups=packed.groups, dtype=dtype)
        module.bias = model.get_submodule(path).bias  # type: ignore[assignment]
        model.set_submodule(path, module)


def fill(module: QuantizedLinear, packed: Packed, reader: Reader) -> None:
    """Reads a weight into a module that keeps its integers. Raises Damaged."""
    numbers = _read(packed, reader)
    module.describe(scales=numbers.scales, zeros=numbers.zeros, order=numbers.order)
    for begin, integers in numbers.pieces():
        module.put(begin, integers)


def unpack(packed: Packed, reader: Reader, out: Tensor) -> None:
    """Reads a weight into `out` [outputs, inputs], the very values that a module which keeps integers multiplies by.
    Raises Damaged."""
    numbers = _read(packed, reader)
    scales, zeros = (values[..., None].to(out.dtype) for values in (numbers.scales, numbers.zeros))
    for begin, integers in numbers.pieces():
        rows = slice(begin, begin + len(integers))
        values = dequantized(integers.to(out.dtype), scales[rows], zeros[rows])
        out[rows] = values if numbers.order is None else values[:, numbers.order.argsort()]


def _format(facts: Any, name: str) -> tuple[int, int]:
    """Bits, and what was taken off the zero points. Raises BackendError."""
    facts = facts if isinstance(facts, Mapping) else {}
    bits, layout = facts.get("bits"), facts.get("checkpoint_format", "gptq")
    method = facts.get("quant_method", "gptq" if "bits" in facts else "a method that it doesn't name")
    if method != "gptq" or not isinstance(layout, str) or layout not in TAKEN_OFF:
        what = f"quantized by {method}" if method != "gptq" else f"packed for {layout}"
        raise BackendError(f"{name} is {what[:60]}, which this app can't read: choose another checkpoint.")
    if bits not in BITS:
        raise BackendError(
            f"{name} is quantized by GPTQ to {str(bits)[:20]} bits; this app reads 4 and 8: choose another checkpoint."
        )
    return bits, TAKEN_OFF[layout]


def _packed(parts: Mapping[str, Stored | None], bits: int, taken_off: int) -> Packed | None:
    """The weight that four tensors make up, of which g_idx may be missing; None where they don't fit each other."""
    integers, zeros, scales, group_of = (parts[part] for part in (INTEGERS, ZEROS, SCALES, GROUP_OF))
    if integers is None or zeros is None or scales is None or len(integers.shape) != 2 or len(scales.shape) != 2:
        return None
    words, outputs = integers.shape
    inputs, groups = words * 32 // bits, scales.shape[0]
    fit = (
        integers.dtype == zeros.dtype == torch.int32
        and scales.dtype.is_floating_point
        and scales.shape == (groups, outputs)
        and zeros.shape == (groups, outputs * bits // 32)
        and outputs * bits % 32 == 0
        and (group_of is None or (group_of.shape == (inputs,) and group_of.dtype in (torch.int32, torch.int64)))
        and min(inputs, outputs, groups) > 0
        and inputs % groups == 0
    )
    if not fit:
        return None
    file, begin, end = integers.file, integers.begin, integers.end
    return Packed(file, integers.dtype, (outputs, inputs), begin, end, zeros, scales, group_of, bits, taken_off)


def _read(packed: Packed, reader: Reader) -> Unpacked:
    outputs, inputs = packed.shape
    bits, groups = packed.bits, packed.groups

    def read(stored: Stored, *shape: int) -> Tensor:
        out = torch.empty(shape, dtype=stored.dtype)
        reader.read(stored, out)
        return out

    words = read(packed, inputs * bits // 32, outputs)
    zeros = _integers(read(packed.zeros, groups, outputs * bits // 32), bits)
    zeros = (zeros + packed.taken_off) & (2**bits - 1)  # a zero point of 0 was written as all ones
    scales = read(packed.scales, groups, outputs)
    order = None
    if packed.group_of is not None:
        try:
            order = _order(read(packed.group_of, inputs), groups)
        except ValueError as error:
            what = f"has inputs whose groups make no sense ({error})"
            raise Damaged(packed.group_of.file, what, half=False) from error
    return Unpacked(words, bits, zeros.T, scales.T, order)


def _integers(words: Tensor, bits: int) -> Tensor:
    """The integers of words [rows, words], as bytes [rows, words * 32 / bits]: the lowest bits are the first."""
    integers = words.contiguous().view(torch.uint8)
    return integers if bits == 8 else torch.stack([integers & 15, integers >> 4], dim=-1).flatten(1)


def _order(group_of: Tensor, groups: int) -> Tensor | None:
    """The inputs in the order of their groups, where that isn't theirs. Raises ValueError unless there are as many in
    each group."""
    even = torch.arange(groups, dtype=group_of.dtype).repeat_interleave(len(group_of) // groups)
    if torch.equal(group_of, even):
        return None
    order = group_of.argsort(stable=True)
    if not torch.equal(group_of[order], even):
        raise ValueError(f"not {len(group_of) // groups} in each")
    return order
