"""What all tests need: every process computes on one thread, as tiny models are slower on several and several workers
share the cores; the garbage collector leaves what all test files import alone, as it does in the app; and no temporary
folder of a server that ran in this process stays the one of whoever comes next."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

from ovis_app.frozen_imports import importing

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    with importing():
        return (yield)


@pytest.fixture(autouse=True)
def temporary_folder() -> Iterator[None]:
    """`serve` has the app's own folder be the process's."""
    before = tempfile.tempdir
    yield
    tempfile.tempdir = before
