"""The examination of a model that has a GPU for a moment only: all that needs one in a single call, within the seconds
that are asked for. Refuses to know who forks, as the answers of such a model do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from ovis_app.backends.gpu_refusals import sentence_of
from ovis_app.backends.gpu_time import CARDS
from ovis_app.backends.local import gpu_placed
from ovis_app.backends.local.gpu_placed import Placed
from ovis_app.doctor import machine
from ovis_app.doctor.finding import Finding, judged
from ovis_app.doctor.loaded import Examined, survived
from ovis_app.doctor.memory_used import Peak
from ovis_app.doctor.quick import of_files
from ovis_app.errors import BackendError, UserError
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.stop import Stop

SPARE = 0.2  # of the seconds, for what is under way when the others are over


@dataclass(frozen=True)
class GpuLook:
    """What a forked process is called with."""

    seconds: int


def seconds_of(look: GpuLook) -> int:
    return look.seconds


def looks(
    settings: Settings, limits: Limits, gpu: Callable[..., Any]
) -> Callable[[Callable[[str], None], Stop], Iterator[Finding]]:
    """Loads the model: to be called on the main thread, as for answers. Returns what looks it over, which says to
    whoever waits what it does. Raises BackendError."""
    placed = gpu_placed.place(settings, limits)
    call = GpuLook(CARDS[settings.zerogpu_size].most)
    forked = gpu(duration=seconds_of, size=settings.zerogpu_size)(in_gpu)

    def look(note: Callable[[str], None], stop: Stop) -> Iterator[Finding]:  # that another process hears by its end
        yield from of_files(placed.loaded.checkpoint.folder, placed.loaded.spec, None)
        note("Waiting for a GPU")
        try:
            with closing(forked(call)) as findings:
                yield from findings
        except UserError:
            raise
        except Exception as error:  # what `spaces` raises is Gradio's, or a server's
            raise BackendError(sentence_of(error)) from error

    return look


def in_gpu(call: GpuLook) -> Iterator[Finding]:
    """In a forked process: what the machine is, what the model does, and how long that took."""
    torch.set_num_threads(1)  # a thread that was forked waits for ever for those that it computed with before
    age = max(time.time() - psutil.Process(os.getpid()).create_time(), 0.0)
    began, placed = time.monotonic(), gpu_placed.here()
    end, loaded, settings = began + (1 - SPARE) * call.seconds - age, placed.loaded, placed.settings
    yield machine.device(loaded.placement, settings, has_card=False)
    yield machine.precision(loaded.placement, loaded.spec, settings)
    yield machine.attention(loaded.model.config.llm_config.model_type, loaded.placement)
    yield from survived(_loaded(placed, end))
    yield gpu_seconds(age + time.monotonic() - began, call.seconds)


def _loaded(placed: Placed, end: float) -> Iterator[Finding]:
    with Peak(placed.loaded.placement.device) as peak:
        yield from Examined(placed.loaded, placed.settings, placed.limits, end=end, once=True).findings(peak)


def gpu_seconds(took: float, declared: int) -> Finding:
    found = f"{took:.0f} of {declared} that were asked for"
    return judged(
        "seconds of the GPU", found, f"{declared} at most", same=took <= declared,
        does="ends an answer whose seconds are over, and asks for more the next time",
    )  # fmt: skip
