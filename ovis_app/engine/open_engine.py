"""From a loaded model to an engine: what it can do here, how much memory each part gets, and the parts themselves."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine.block_manager import BLOCK_SIZE, BlockManager
from ovis_app.engine.capabilities import Capabilities
from ovis_app.engine.decode_step import DecodeStep
from ovis_app.engine.engine import GUESSED_ROWS, Engine
from ovis_app.engine.kv_pool import KVPool
from ovis_app.engine.memory_plan import MemoryPlan
from ovis_app.engine.model_runner import ModelRunner, Step
from ovis_app.models.devices import few_threads
from ovis_app.models.ovis import Ovis
from ovis_app.turns import Turns

HOPPER = (9, 0)  # compute capability of the first cards on which a kernel can begin before another has ended

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
        most_rows = max(most_running, GUESSED_ROWS if lookup else 1)
        step = decode_step(model, pool, can, context=context, most_rows=most_rows)
    runner = ModelRunner(model, pool, step)
    return Engine(
        runner, blocks, ending, context=context, most_running=most_running, lookup=lookup, turns=turns,
        give_memory_back=give_memory_back,
    )  # fmt: skip


def decode_step(model: Ovis, pool: KVPool, can: Capabilities, *, context: int, most_rows: int) -> Step | None:
    """What makes the steps of a model that can do so much; None where its modules do."""
    if can.decode == "modules":
        return None
    step = DecodeStep(model.llm, context=context)
    if not step.together:
        log.warning("joined weights came apart when the model was moved: its tokens go through its modules")
        return None
    if can.decode == "by hand":
        return step
    try:
        return _fused(step, pool, context=context, most_rows=most_rows)
    except Exception as error:  # a Triton that is there and doesn't load: compilers and drivers raise many kinds
        log.warning("the fused decode step isn't used, tokens come by the one in torch: %s", error)
        return step


def _fused(step: DecodeStep, pool: KVPool, *, context: int, most_rows: int) -> Step:
    from ovis_app.engine.fused.fused_step import FusedStep  # Triton is there only where torch is made for CUDA
    from ovis_app.engine.fused.graphs import Graphs

    device = step.norm.device
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    record = Graphs(device).record
    early = torch.cuda.get_device_capability(device) >= HOPPER
    return FusedStep(
        step, pool, context=context, most_rows=most_rows, record=record, processors=processors, early=early
    )
