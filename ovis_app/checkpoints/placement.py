"""How a model is put on a machine: on which device, in what precision, its language model quantized or not.

Resolved once, from what was asked for and what this machine has, and handed on. Loads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ovis_app.models.devices import choose_device, choose_dtype
from ovis_app.zoo import ModelSpec


@dataclass(frozen=True)
class Placement:
    """`device` is a torch device; plain "cuda" may be several GPUs. `quantize` is "none", "int8" or "int4"."""

    device: str
    dtype: torch.dtype
    quantize: str = "none"

    @classmethod
    def choose(cls, spec: ModelSpec, *, device: str = "auto", dtype: str = "auto", quantize: str = "none") -> Placement:
        """What was asked for, or what this machine does best with such a model. Raises BackendError for a device that
        isn't there."""
        place = choose_device(device)
        return cls(place, choose_dtype(dtype, place, spec), quantize)

    def with_dtype(self, dtype: torch.dtype) -> Placement:
        return replace(self, dtype=dtype)

    def with_quantize(self, quantize: str) -> Placement:
        return replace(self, quantize=quantize)
