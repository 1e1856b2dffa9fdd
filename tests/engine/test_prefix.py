"""What recent conversations have computed is kept within its limits, and may be forgotten at any moment."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, Qwen3Config

from ovis_app.engine.prefix import PrefixStore

CONFIG = Qwen3Config(num_hidden_layers=1)


def cache(tokens: int) -> DynamicCache:
    held = DynamicCache()
    held.update(torch.zeros(1, 1, tokens, 4), torch.zeros(1, 1, tokens, 4), 0)
    return held


def test_the_oldest_goes_first() -> None:
    store = PrefixStore(limit=2 * 5 * 4 * 8)
    for word in (1, 2, 3):
        store.keep((word,) * 5, cache(5))
    assert len(store) == 2 and store.bytes <= store.limit
    empty, reused = store.take((1,) * 9, CONFIG)
    assert reused == 0 and empty.get_seq_length() == 0
    assert store.take((3,) * 9, CONFIG)[1] == 5


@pytest.mark.parametrize("limit", [0, -1])
def test_where_nothing_may_be_kept_nothing_is(limit: int) -> None:
    store = PrefixStore(limit=limit)
    store.keep((1,) * 5, cache(5))
    assert len(store) == 0


def test_another_thread_may_forget_everything_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is exchanged while an answer's cache is being put away."""
    store = PrefixStore(limit=1)

    def cleared(self: PrefixStore) -> int:
        self.clear()
        return 10**9

    monkeypatch.setattr(PrefixStore, "bytes", property(cleared))
    store.keep((1,) * 5, cache(5))
    assert len(store) == 0
