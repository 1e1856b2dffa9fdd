"""How much memory a model needs and how much there is, before anything is downloaded. Knows sizes, loads nothing."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch

from ovis_app.zoo import ModelSpec

# Beside the weights: activations of a long prompt, the tower at its micro-batch, the visual softmax in chunks.
WORKING = 1.08
RESERVE = 0.5e9


@dataclass(frozen=True)
class Fit:
    """Bytes needed and available on the device that was chosen."""

    needed: int
    available: int

    @property
    def fits(self) -> bool:
        return self.needed <= self.available


def bytes_needed(spec: ModelSpec, dtype: torch.dtype) -> int:
    """Weights in `dtype`, and room to work with them."""
    weights = spec.parameters * 1e9 * dtype.itemsize
    return round(weights * WORKING + (RESERVE if weights > RESERVE else 0))


def bytes_available(device: str) -> int:
    """Free memory of all GPUs or of this machine."""
    if device.startswith("cuda"):
        places = [device] if ":" in device else [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        return sum(torch.cuda.mem_get_info(place)[0] for place in places)
    return int(psutil.virtual_memory().available)


def fit(spec: ModelSpec, *, device: str, dtype: torch.dtype) -> Fit:
    return Fit(bytes_needed(spec, dtype), bytes_available(device))
