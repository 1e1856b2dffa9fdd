"""How a model is put on a machine: on which device, in what precision, its language model quantized or not.

Resolved once, from what was asked for and what this machine has, and handed on. Loads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from ovis_app.models.devices import choose_device, choose_dtype
from ovis_app.zoo import ModelSpec


@dataclass(frozen=True)
class Placement:
    """`device` is a torch device; plain "cuda" may be several GPUs. `quantize` is "none", "int8" or "int4". `automatic`
    says that nobody asked for a precision; `gpu_memory` is the share of a GPU that may be taken."""

    device: str
    dtype: torch.dtype
    quantize: str = "none"
    automatic: bool = field(default=False, compare=False)
    gpu_memory: float = field(default=0.85, compare=False)

    @classmethod
    def choose(
        cls, spec: ModelSpec, *, device: str = "auto", dtype: str = "auto", quantize: str = "none",
        gpu_memory: float = 0.85,
    ) -> Placement:  # fmt: skip
        """What was asked for, or what this machine does best with such a model. Raises BackendError for a device that
        isn't there."""
        place = choose_device(device)
        chosen = choose_dtype(dtype, place, spec)
        return cls(place, chosen, quantize, automatic=dtype == "auto", gpu_memory=gpu_memory)

    def of(self, spec: ModelSpec) -> Placement:
        """The same for a model that more is known of now."""
        return self.with_dtype(choose_dtype("auto", self.device, spec)) if self.automatic else self

    def with_dtype(self, dtype: torch.dtype) -> Placement:
        return replace(self, dtype=dtype)

    def with_quantize(self, quantize: str) -> Placement:
        return replace(self, quantize=quantize)
