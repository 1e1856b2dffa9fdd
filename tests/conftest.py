"""What all tests need: every process computes on one thread, as tiny models are slower on several and several workers
share the cores. One worker more than cores, at most five: now and then each waits for a process that it started."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported


def pytest_xdist_auto_num_workers() -> int:
    return min((os.cpu_count() or 1) + 1, 5)
