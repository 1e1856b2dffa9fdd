from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.openai_program import Program
from tests.ui.serving import HeldBackend, Served, served, served_api


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(HeldBackend()) as here:
        yield here


@pytest.fixture(scope="module")
def here() -> Iterator[Served]:
    """The API alone, which is there at once."""
    with served_api(HeldBackend()) as there:
        yield there


@pytest.fixture
def program(here: Served) -> Program:
    here.backend.requests.clear()
    return Program(here)
