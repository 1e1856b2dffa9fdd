"""Engines over tiny models for tests, with sizes that they choose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine.block_manager import BlockManager
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
    block_size: int = 16,
    most_running: int = 8,
    by_hand: bool = True,
) -> Engine:
    """Not started: whoever asks drives it. `by_hand` uses the decode step where the model has one."""
    step = DecodeStep(model.llm, context=CONTEXT) if by_hand and Capabilities.of(model).decode == "by hand" else None
    runner = ModelRunner(model, KVPool(model.llm, blocks, block_size), step)
    manager = BlockManager(blocks, block_size=block_size)
    return Engine(runner, manager, ending, context=CONTEXT, most_running=most_running)


@contextmanager
def engine_over(model: Ovis, ending: Ending = ENDING, **options: Any) -> Iterator[Engine]:
    """The same, closed at the end."""
    with closing(engine_made(model, ending, **options)) as made:
        yield made
