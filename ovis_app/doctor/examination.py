"""The whole examination of a model, finding by finding: its files, then what it does once it is loaded."""

from __future__ import annotations

from collections.abc import Iterator

from ovis_app.checkpoints.hub import Progress
from ovis_app.doctor import quick as files_alone
from ovis_app.doctor.finding import Finding
from ovis_app.settings import Settings
from ovis_app.zoo import ModelSpec


def examined(spec: ModelSpec, settings: Settings, *, quick: bool, progress: Progress) -> Iterator[Finding]:
    """Raises nothing that a checkpoint or a machine is the cause of: that is a line."""
    yield from files_alone.findings(spec, settings, progress)
