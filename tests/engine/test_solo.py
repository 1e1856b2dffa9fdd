"""A long prompt is read a piece at a time: the same tokens, and Stop needn't wait for the end of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from ovis_app.engine import solo
from ovis_app.engine.decode import Decoder
from ovis_app.generation import GenerationSettings
from tests.engine.prompts import ENDING, Tiny, tiny

PIECE = 7
SETTINGS = GenerationSettings(max_new_tokens=12)
TURNS = [("What is it?", (("image", 2),)), ("A cat, I think, and it sleeps.", ()), ("And what is that?", ())]


def answer(small: Tiny, **options: Any) -> list[int]:
    written = small.written(TURNS)
    inputs = solo.embeddings(small.model, written.ids, written.visual)
    return [int(i) for i in solo.generate(small.model, inputs, SETTINGS, mask=written.mask, ending=ENDING, **options)]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many tokens each call of a language model reads."""
    read: list[int] = []

    def count(module: torch.nn.Module, values: Any, options: dict[str, Any]) -> None:
        given = options.get("inputs_embeds")
        read.append((options["input_ids"] if given is None else given).shape[1])

    hooks = [
        tiny(family).model.llm.model.register_forward_pre_hook(count, with_kwargs=True)
        for family in ("ovis2.5", "ovis2", "ovis1.6", "llama")
    ]
    yield read
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("family", ["ovis2.5", "ovis2", "ovis1.6", "llama"])
@pytest.mark.parametrize("recorded", [False, True])
def test_pieces_give_the_tokens_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, steps: list[int], family: str, recorded: bool
) -> None:
    small = tiny(family)
    if recorded and family == "ovis1.6":
        pytest.skip("Gemma 2 has no decoder")
    decoder = Decoder(small.model.llm, 2048) if recorded else None
    whole = answer(small, decoder=decoder)
    assert max(steps) > 3 * PIECE
    monkeypatch.setattr(solo, "PIECE", PIECE)
    steps.clear()
    assert answer(small, decoder=decoder) == whole
    assert max(steps) == PIECE


def test_stop_ends_the_reading_and_what_was_read_is_not_lost(monkeypatch: pytest.MonkeyPatch, steps: list[int]) -> None:
    small = tiny("ovis2.5")
    whole = answer(small)
    monkeypatch.setattr(solo, "PIECE", PIECE)
    steps.clear()
    cache = DynamicCache(config=small.model.llm.config)
    assert answer(small, cache=cache, stop=lambda: len(steps) == 2) == []
    assert steps == [PIECE, PIECE] and cache.get_seq_length() == 2 * PIECE
    assert answer(small, cache=cache) == whole
    assert sum(steps) == len(small.written(TURNS).ids) + len(whole) - 1
