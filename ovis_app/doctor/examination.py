"""The whole examination of a model, finding by finding: its files, then what it does once it is loaded.

Knows the order and the time that there is; refuses to know what is checked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import date

from ovis_app.backend import Examination
from ovis_app.backends.local import model_pool
from ovis_app.checkpoints.checkpoint import files_of
from ovis_app.checkpoints.hub import Progress, folder_here
from ovis_app.doctor import quick as files_alone
from ovis_app.doctor.finding import Finding, not_judged
from ovis_app.doctor.loaded import Examined, survived
from ovis_app.doctor.machine import placement_of
from ovis_app.doctor.memory_used import Peak
from ovis_app.kept_examination import keep
from ovis_app.settings import Settings
from ovis_app.stop import NEVER, Stop
from ovis_app.zoo import ModelSpec

SECONDS = 150.0  # from the moment that loading begins; with what stands before, three minutes
UNLOADABLE = ("tensor names", "tensor shapes")  # lines that keep a model from being loaded where they aren't ok


def examined(
    spec: ModelSpec, settings: Settings, *, quick: bool, progress: Progress, stop: Stop = NEVER
) -> Iterator[Finding]:  # fmt: skip
    """Raises nothing that a checkpoint or a machine is the cause of: that is a line. Raises Stopped, also where
    `progress` does. How it went is kept."""
    found = []
    for one in _lines(spec, settings, quick=quick, progress=progress, stop=stop):
        found.append(one)
        yield one
    remember(spec, found, quick=quick)


def remember(spec: ModelSpec, found: Sequence[Finding], *, quick: bool) -> None:
    """For the page, which says so of the model that answers; nothing where there were no files to look at."""
    folder = folder_here(spec)
    if folder is not None:
        judged, unexpected = sum(one.verdict != "not judged" for one in found), sum(one.warns for one in found)
        day = date.today().isoformat()
        keep(files_of(folder, spec.adapter), Examination(day, len(found), judged, unexpected, quick))


def _lines(
    spec: ModelSpec, settings: Settings, *, quick: bool, progress: Progress, stop: Stop
) -> Iterator[Finding]:  # fmt: skip
    why = "it has a class of its own, which is asked like any other model" if spec.alone else ""
    for one in files_alone.findings(spec, settings, progress):
        yield one
        if one.verdict == "failed" or (one.name in UNLOADABLE and one.warns):
            why = f"what stands at {one.name} keeps it from being loaded"
    if quick:
        return
    if why:
        yield not_judged("loaded", why)
    else:
        yield from survived(loaded(spec, settings, progress, stop))


def loaded(spec: ModelSpec, settings: Settings, progress: Progress, stop: Stop) -> Iterator[Finding]:
    """What it does; what is left when the time is over isn't judged."""
    began, placement = time.monotonic(), placement_of(spec, settings)
    with Peak(placement.device) as peak:
        model = model_pool.loaded_model(spec, placement, progress=progress)
        size = sum(value.nbytes for value in model.model.parameters()) / 1e9
        yield Finding("loaded", "ok", f"{size:.2f} GB in {time.monotonic() - began:.1f} s")
        progress("Asking", None)
        end = began + SECONDS
        yield from Examined(model, settings, settings.limits(), end=end, once=False, stop=stop).findings(peak)
