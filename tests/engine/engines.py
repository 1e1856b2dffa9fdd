"""Engines over tiny models for tests, with sizes that they choose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine.block_manager import BLOCK_SIZE, BlockManager
from ovis_app.engine.capabilities import Capabilities
from ovis_app.engine.decode_step import DecodeStep
from ovis_app.engine.engine import Engine
from ovis_app.engine.kv_pool import KVPool
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.models.ovis import Ovis
from tests.engine.prompts import ENDING

CONTEXT = 4096


def engine_made(
    model: Ovis,
    ending: Ending = ENDING,
    *,
    blocks: int = 256,
    block_size: int = BLOCK_SIZE,
    by_hand: bool = True,
    step: DecodeStep | None = None,
    runner: type[ModelRunner] = ModelRunner,
    most_cached: int | None = None,
    context: int = CONTEXT,
    most_running: int = 8,
    **options: Any,
) -> Engine:
    """Not started: whoever asks drives it. `by_hand` uses the decode step where the model has one: `step`, or its own.
    `options` are the engine's."""
    if by_hand and step is None and Capabilities.of(model).decode == "by hand":
        step = DecodeStep(model.llm, context=context)
    made = runner(model, KVPool(model.llm, blocks, block_size), step if by_hand else None)
    manager = BlockManager(blocks, block_size=block_size, most_cached=most_cached)
    return Engine(made, manager, ending, context=context, most_running=most_running, **options)


@contextmanager
def engine_over(model: Ovis, ending: Ending = ENDING, **options: Any) -> Iterator[Engine]:
    """The same, closed at the end."""
    with closing(engine_made(model, ending, **options)) as made:
        yield made
