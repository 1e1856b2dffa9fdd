"""Trains and evaluates Ovis-mini: `python -m ovis_app.training.mini --out DIR` and `... mini evaluate [--model DIR]`.

Knows the order of the stages, what a run starts from, and the command line. Refuses to know what happens inside a step.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tokenizers import Tokenizer
from torch.multiprocessing.spawn import spawn
from transformers import AutoTokenizer

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
HOME = Path("assets/ovis-mini")
PORT = 29571


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


def train(process: int, processes: int, work: Path, out: Path, tiny: bool, steps: int | None) -> None:
    """What each training process does: the stages in order, each resumed where it stopped."""
    torch.set_num_threads(1)
    if processes > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{PORT}", rank=process, world_size=processes)
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


def wait() -> None:
    """Until all processes are here, so that rank 0's checkpoint is on disk."""
    if dist.is_initialized():
        dist.barrier()


def export(model: Ovis, config: dict[str, Any], run: Run, out: Path) -> None:
    """Writes the checkpoint folder."""
    save(model, config, out)
    write(Tokenizer.from_file(str(run.folder / "tokenizer" / "tokenizer.json")), out)


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Train Ovis-mini, or evaluate it on fresh scenes.")
    parser.add_argument("action", nargs="?", choices=("train", "export", "evaluate"), default="train")
    parser.add_argument("--out", type=Path, default=HOME, help="the checkpoint folder to write")
    parser.add_argument("--work", type=Path, default=Path("runs/mini"), help="logs and resumable checkpoints")
    parser.add_argument("--model", type=Path, default=HOME, help="the checkpoint folder to evaluate")
    parser.add_argument("--number", type=int, default=100, help="fresh questions per kind to evaluate")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 2))
    parser.add_argument("--steps", type=int, help="end each stage after this many steps")
    parser.add_argument("--start", type=Path, help="a checkpoint folder of the same tokenizer to train on")
    parser.add_argument("--tiny", action="store_true", help="a far smaller model, to try the machinery")
    parser.add_argument("--resume", action="store_true", help="go on where --work stopped")
    options = parser.parse_args()
    if options.action == "evaluate":
        from ovis_app.training.mini.evaluate import Answerer, evaluate, table
        from ovis_app.training.mini.evaluate_talks import evaluate_talks

        answerer = Answerer(options.model)
        figures = evaluate(answerer, number=options.number)
        print(table([*figures, *evaluate_talks(answerer, number=max(options.number // 10, 1))]))
    elif options.action == "export":
        print(f"wrote stage {export_latest(options.work, options.out)} to {options.out}")
    else:
        if not options.resume and list(options.work.glob("*.pt")):
            parser.error(f"{options.work} holds an earlier run: add --resume, or name another --work")
        arguments = (options.processes, options.work, options.out, options.tiny, options.steps)
        run = Run(options.work, PLAN if options.start is None else PLAN_ON)
        prepare(run, tiny=options.tiny, start=options.start)
        spawn(train, args=arguments, nprocs=options.processes)


if __name__ == "__main__":
    main()
