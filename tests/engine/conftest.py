"""What several tests of engines need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from ovis_app.engine.batched import BatchedEngine
from ovis_app.engine.pages import Manager
from tests.engine.crowd import engine


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models are slower on many threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens that each step of an engine reads."""
    read: list[int] = []
    whole = Manager._generation_step

    def counting(self: Manager) -> None:
        read.append(self.batch_processor.inputs_and_outputs.total_seqlen_q)
        whole(self)

    monkeypatch.setattr(Manager, "_generation_step", counting)
    return read


@pytest.fixture(scope="module")
def shared() -> Iterator[BatchedEngine]:
    with engine() as made:
        yield made
