"""What all tests need: every process computes on one thread, as tiny models are slower on several and several workers
share the cores; and the garbage collector leaves what all test files import alone, as it does in the app."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ovis_app.frozen_imports import importing

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    with importing():
        return (yield)
