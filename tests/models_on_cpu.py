"""Models as the app loads them, on a processor."""

from __future__ import annotations

from ovis_app.backends.local import model_pool
from ovis_app.backends.local.model_pool import LoadedModel
from ovis_app.checkpoints.hub import Progress, no_progress
from ovis_app.checkpoints.placement import Placement
from ovis_app.zoo import ModelSpec


def on_cpu(spec: ModelSpec, dtype: str = "auto", quantize: str = "none") -> Placement:
    return Placement.choose(spec, device="cpu", dtype=dtype, quantize=quantize)


def loaded_on_cpu(
    spec: ModelSpec, dtype: str = "auto", quantize: str = "none", *, progress: Progress = no_progress
) -> LoadedModel:
    return model_pool.loaded_model(spec, on_cpu(spec, dtype, quantize), progress=progress)
