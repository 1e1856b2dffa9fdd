"""What all tests need: every process computes on one thread, as tiny models are slower on several and several workers
share the cores."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
