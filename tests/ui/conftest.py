from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ui.serving import HeldBackend, Served, Wire, served


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    with served(HeldBackend()) as here:
        yield here


@pytest.fixture
def wire(server: Served) -> Iterator[Wire]:
    client = Wire(server)
    yield client
    client.close()
