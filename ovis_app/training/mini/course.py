"""A whole run: what it starts from, the stages in their order, and what it writes.

Knows the plan. Refuses to know what happens inside a step, and the command line. It is no part of __main__, which the
training processes can't import.
"""

from __future__ import annotations

import os
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import torch
import torch.distributed as dist
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from ovis_app.checkpoints import checksums
from ovis_app.checkpoints.load import load
from ovis_app.models.ovis import Ovis
from ovis_app.models.prompt import PromptTokenizer
from ovis_app.training.mini.architecture import grown, new_model, released_config, save
from ovis_app.training.mini.stages import STAGES, Stage
from ovis_app.training.mini.tokenizer import learn, write
from ovis_app.training.mini.trainer import Run, rank
from ovis_app.training.mini.world.corpus import sentences

PLAN = {"see": 6000, "read": 3000, "whole": 6000, "more": 0}  # steps; --work/plan.json has the last word
PLAN_ON = {"see": 3000, "read": 600, "whole": 6000, "more": 0}  # the same for a checkpoint that is trained on
ENTRIES = 1300  # of the tokenizer, without the marks
HOST = "127.0.0.1"  # where the training processes of a run meet


def prepare(run: Run, *, tiny: bool = False, start: Path | None = None) -> tuple[dict[str, Any], PromptTokenizer]:
    """The config and the tokenizer of this run; the tokenizer is learnt once, or taken from the checkpoint that the run
    starts from, as are the first weights."""
    folder = run.folder / "tokenizer"
    if not (folder / "tokenizer_config.json").exists():
        if start is None:
            write(learn(sentences("train-tokenizer", 300 if tiny else 12000), ENTRIES), folder)
        else:
            write(Tokenizer.from_file(str(start / "tokenizer.json")), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    marks = tokenizer.get_added_vocab()
    size = max(tokenizer.get_vocab().values()) + 1
    config = released_config(tokens=size, end=marks["<|im_end|>"], pad=marks["<|endoftext|>"], tiny=tiny)
    if start is not None and run.state("start") is None:
        run.save("start", {"model": grown(load(start), config).state_dict(), "extra": {}})
    return config, PromptTokenizer(tokenizer)


def train(process: int, processes: int, work: Path, out: Path, tiny: bool, steps: int | None, port: int = 0) -> None:
    """What each training process does: the stages in order, each resumed where it stopped. They meet at `port`, where
    the command that started them has a store."""
    Thread(target=leave_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    if processes > 1:
        store = dist.TCPStore(HOST, port, is_master=False)  # type: ignore[attr-defined]
        dist.init_process_group("gloo", store=store, rank=process, world_size=processes)
    run = Run(work, PLAN)
    config, tokenizer = prepare(run, tiny=tiny)
    model = new_model(config)
    begun = max((n for n, stage in enumerate(STAGES) if run.state_file(stage).exists()), default=0)
    for stage in STAGES[begun:]:
        if run.steps(stage):
            wait()
            Stage(run, stage, model, tokenizer).train(most=steps)
    if rank() == 0:
        export(model, config, run, out)


def leave_with_parent() -> None:
    """Ends this process once the command that started it is gone: it would train on for hours, in a folder that the
    next run takes for its own."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def wait() -> None:
    """Until all processes are here, so that rank 0's checkpoint is on disk."""
    if dist.is_initialized():
        dist.barrier()


def export(model: Ovis, config: dict[str, Any], run: Run, out: Path) -> None:
    """Writes the checkpoint folder, and the checksums that are asked for where it is the bundled one."""
    save(model, config, out)
    write(Tokenizer.from_file(str(run.folder / "tokenizer" / "tokenizer.json")), out)
    checksums.write(out)


def export_latest(work: Path, out: Path) -> str:
    """Writes the newest stage's checkpoint as it is now and returns that stage's name."""
    run = Run(work, PLAN)
    config, _ = prepare(run)
    model = new_model(config)
    stage = next(stage for stage in (*reversed(STAGES), "start") if run.state_file(stage).exists())
    state = run.state(stage)
    assert state is not None
    model.load_state_dict(state["model"])
    export(model, config, run, out)
    return stage
