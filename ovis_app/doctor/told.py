"""What a report says beside its findings, and what it must not: whose machine it is, and where things lie."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ovis_app import zoo
from ovis_app.settings import Settings
from ovis_app.zoo import ModelSpec

PACKAGES = ("ovis-app", "torch", "transformers", "tokenizers", "pillow", "triton")


def facts(spec: ModelSpec) -> dict[str, object]:
    """The model where it is one of those that everybody knows, and versions."""
    known = next((row.name for row in zoo.MODELS if row.id == spec.id), "of your own")
    return {
        "model": known,
        "family": spec.family,
        "adapter": spec.adapter is not None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def private(spec: ModelSpec, settings: Settings) -> list[str]:
    """Names and paths that may stand in a sentence; none for a model that everybody knows."""
    home = str(Path.home())
    if any(row.id == spec.id for row in zoo.MODELS) and spec.adapter is None:
        return [home] if len(home) > 1 else []
    folders = [os.path.abspath(one) for one in (settings.model, settings.adapter) if one]  # noqa: PTH100 - a name may be odd
    names = [spec.id, spec.name, spec.repository, settings.model, settings.adapter, *folders]
    return [one for one in (*names, *(Path(folder).name for folder in folders), home) if len(one) > 2]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
