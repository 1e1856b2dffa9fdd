"""The model singleton: one copy of each model in the process, loaded by whoever asks first.

From a name to weights is one trip: resolve, ask whether it fits, fetch, look over, load; nothing on it is asked twice.
Knows checkpoints and placements; refuses to know requests and conversations.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from transformers.utils import logging as transformers_logging

from ovis_app import zoo
from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.checkpoints.hub import Progress, folder_of, no_progress
from ovis_app.checkpoints.load import load_weights
from ovis_app.checkpoints.memory_fit import refuse_what_cannot_fit
from ovis_app.checkpoints.placement import Placement
from ovis_app.checkpoints.tokenizer import ChatTokenizer
from ovis_app.errors import BackendError
from ovis_app.models.ovis import Ovis
from ovis_app.zoo import ModelSpec

log = logging.getLogger(__name__)

CHANGED = "The weights of {name} were written anew while they were read: try again once they are whole."


@dataclass(frozen=True)
class Ready:
    """A model that can be loaded: what is known of it, where it will run, and its files, which are here and sound."""

    spec: ModelSpec
    placement: Placement
    checkpoint: Checkpoint


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, with the files that it is of."""

    spec: ModelSpec
    placement: Placement
    checkpoint: Checkpoint
    model: Ovis

    @property
    def tokenizer(self) -> ChatTokenizer:
        return self.checkpoint.tokenizer

    @property
    def is_current(self) -> bool:
        """Whether it is of the files that are there now: a folder may have been written anew."""
        return self.checkpoint.is_current(self.spec.adapter)

    @property
    def context(self) -> int:
        """Tokens of a prompt and its answer together, at most."""
        return min(self.model.config.max_context, self.spec.context)


_models: dict[tuple[str, Placement], LoadedModel] = {}  # by id
_loading = threading.Lock()


def current(spec: ModelSpec, placement: Placement) -> LoadedModel | None:
    """The copy of a model in memory, if it is of these very files."""
    found = _models.get((spec.id, placement))
    return found if found is not None and found.spec.adapter == spec.adapter and found.is_current else None


def fetch(
    spec: ModelSpec, placement: Placement, *, progress: Progress = no_progress, freed: Callable[[], int] = lambda: 0
) -> Ready:
    """Fetches a model's files if need be and looks them over; nothing of note is loaded. Whether a row that is known
    fits was asked before; `freed` says how many bytes will be given back before it is loaded. `progress` hears how far
    that is, and what it raises passes through. Raises BackendError."""
    checkpoint = Checkpoint.read(folder_of(spec, progress), spec.name, base=spec)
    if spec.guessed:  # the name told little, the files tell all
        spec = told(spec, checkpoint)
        placement = placement.of(spec)
        refuse_what_cannot_fit(spec, placement, freed=freed())
    return Ready(spec, placement, checkpoint)


def loaded_model(spec: ModelSpec, placement: Placement, *, progress: Progress = no_progress) -> LoadedModel:
    """The process's one copy of a model, fetched and loaded by whoever comes first. Raises BackendError."""
    with _loading:
        found = current(spec, placement)
        if found is not None:
            return found
        refuse_what_cannot_fit(spec, placement)
        ready = fetch(spec, placement, progress=progress)
        return current(ready.spec, ready.placement) or _load(ready, progress)


def told(spec: ModelSpec, checkpoint: Checkpoint) -> ModelSpec:
    """The row of a model of which the name told little, by its files."""
    own = zoo.of_folder(checkpoint.folder, id=spec.id, name=spec.name)
    return replace(own, adapter=spec.adapter, aliases=spec.aliases)


def load_ready(ready: Ready, *, progress: Progress = no_progress) -> LoadedModel:
    """The same for one whose files are here."""
    with _loading:
        return current(ready.spec, ready.placement) or _load(ready, progress)


def _load(ready: Ready, progress: Progress) -> LoadedModel:
    """Raises BackendError."""
    transformers_logging.disable_progress_bar()  # the page and the command line have their own
    started, files = time.monotonic(), ready.checkpoint
    progress(f"Loading {ready.spec.name}", None)
    model = load_weights(files.folder, files.config, files.tensors, ready.placement, progress, adapter=files.adapter)
    if not files.is_whole(ready.spec.adapter):
        raise BackendError(CHANGED.format(name=ready.spec.name))
    log.info("loaded %s in %.1f s", ready.spec.name, time.monotonic() - started)
    loaded = LoadedModel(ready.spec, ready.placement, files, model)
    _models[ready.spec.id, ready.placement] = loaded
    return loaded


def release() -> None:
    """Forgets every model, and gives back to the system what nobody else holds of them."""
    with _loading:
        _models.clear()
    free_memory()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # glibc keeps freed memory until it is asked; others have no such call
            ctypes.CDLL(None).malloc_trim(0)


def free_memory() -> None:
    """Gives back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def loaded_bytes() -> int:
    """What `release` would give back: the loaded models' weights; on GPUs all that this process has there, since what
    the models remember and the engines' buffers and pages go with them."""
    held = list(_models.values())  # another thread may be loading
    if any(loaded.model.device.type == "cuda" for loaded in held):
        return sum(torch.cuda.memory_reserved(number) for number in range(torch.cuda.device_count()))
    return sum(tensor.nbytes for loaded in held for tensor in loaded.model.parameters())
