"""The most memory that was taken while something ran: of a GPU as torch counts it, else of this process.

Knows counters; refuses to know what ran.
"""

from __future__ import annotations

import threading
from types import TracebackType

import psutil
import torch

from ovis_app.doctor.finding import Finding, judged
from ovis_app.engine.memory_plan import MemoryPlan

EVERY = 0.02  # seconds between two looks at a process
SLACK = 1.05  # times as much as planned is nobody's mistake


class Peak:
    """Watches from the moment it is made until it is closed; `bytes` is the most above what was held before."""

    def __init__(self, device: str) -> None:
        self._gpu = device.startswith("cuda")
        self._process = psutil.Process()
        self._before = 0 if self._gpu else int(self._process.memory_info().rss)
        self.bytes = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        if self._gpu:
            for number in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(number)
        else:
            self._thread = threading.Thread(target=self._watch, name="ovis-memory", daemon=True)
            self._thread.start()

    def __enter__(self) -> Peak:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.look()

    def look(self) -> int:
        """The most until now."""
        if self._gpu:
            self.bytes = sum(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count()))
        else:
            self.bytes = max(self.bytes, int(self._process.memory_info().rss) - self._before)
        return self.bytes

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            self.look()


def judged_peak(peak: int, plan: MemoryPlan, encoded: int) -> Finding:
    """Against what the plan gives to weights, work, conversations and `encoded` bytes of pictures."""
    planned = plan.weights + plan.working + plan.kv + encoded
    return judged(
        "memory at work", f"{peak / 1e9:.2f} GB at most", f"{planned / 1e9:.2f} GB at most, as planned",
        same=peak <= SLACK * planned, does="reads in pieces, or looks less closely, where memory runs out",
    )  # fmt: skip
