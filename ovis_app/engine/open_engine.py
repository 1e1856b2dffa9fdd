"""From a loaded model to an engine: what it can do here, how much memory each part gets, and the parts themselves."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine.block_manager import BLOCK_SIZE, BlockManager
from ovis_app.engine.capabilities import Capabilities
from ovis_app.engine.decode_step import DecodeStep
from ovis_app.engine.engine import Engine
from ovis_app.engine.kv_pool import KVPool
from ovis_app.engine.memory_plan import MemoryPlan
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.models.devices import few_threads
from ovis_app.models.ovis import Ovis
from ovis_app.turns import Turns

log = logging.getLogger(__name__)


def open_engine(
    model: Ovis, ending: Ending, *, plan: MemoryPlan, context: int, most_running: int = 64, lookup: bool = True,
    turns: Turns | None = None, give_memory_back: Callable[[], None] = lambda: None,
    capabilities: Capabilities | None = None,
) -> Engine:  # fmt: skip
    """An engine that isn't started yet. Raises torch.OutOfMemoryError where the plan was too large after all."""
    can = Capabilities.of(model) if capabilities is None else capabilities
    log.info("engine: %s; %d blocks of %d tokens", can, plan.blocks, BLOCK_SIZE)
    blocks = BlockManager(plan.blocks, most_cached=plan.cached_blocks)
    pool = KVPool(model.llm, plan.blocks, BLOCK_SIZE)
    with few_threads(model.llm):
        step = DecodeStep(model.llm, context=context) if can.decode == "by hand" else None
    runner = ModelRunner(model, pool, step)
    return Engine(
        runner, blocks, ending, context=context, most_running=most_running, lookup=lookup, turns=turns,
        give_memory_back=give_memory_back,
    )  # fmt: skip
