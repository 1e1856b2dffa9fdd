from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ui.serving import HeldBackend, Served, served


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(HeldBackend()) as here:
        yield here
