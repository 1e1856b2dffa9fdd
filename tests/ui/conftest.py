from __future__ import annotations

from collections.abc import Iterator

import pytest

from ovis_app.backends.fake import FakeBackend
from tests.ui.serving import Served, Wire, served


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    with served(FakeBackend()) as here:
        yield here


@pytest.fixture
def wire(server: Served) -> Iterator[Wire]:
    client = Wire(server)
    yield client
    client.close()
