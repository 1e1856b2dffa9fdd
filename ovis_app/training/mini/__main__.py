"""Trains and evaluates Ovis-mini: `python -m ovis_app.training.mini --out DIR` and `... mini evaluate [--model DIR]`.

Knows the order of the stages and the command line. Refuses to know what happens inside a step.
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

from ovis_app.models.ovis import Ovis
from ovis_app.models.prompt import PromptTokenizer
from ovis_app.training.mini import stages
from ovis_app.training.mini.architecture import new_model, released_config, save
from ovis_app.training.mini.tokenizer import learn, write
from ovis_app.training.mini.trainer import Run, rank
from ovis_app.training.mini.world.corpus import sentences

MINUTES = {"see": 36.0, "read": 28.5, "whole": 39.0, "more": 0.0}  # --work/plan.json has the last word
ENTRIES = 1300  # of the tokenizer, without the marks
HOME = Path("assets/ovis-mini")
PORT = 29571


def prepare(run: Run, *, tiny: bool = False) -> tuple[dict[str, Any], PromptTokenizer]:
    """The config and the tokenizer of this run; the tokenizer is learnt once."""
    folder = run.folder / "tokenizer"
    if not (folder / "tokenizer_config.json").exists():
        write(learn(sentences("train-tokenizer", 300 if tiny else 12000), ENTRIES), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    marks = tokenizer.get_added_vocab()
    size = max(tokenizer.get_vocab().values()) + 1
    config = released_config(tokens=size, end=marks["<|im_end|>"], pad=marks["<|endoftext|>"], tiny=tiny)
    return config, PromptTokenizer(tokenizer)


def train(process: int, processes: int, work: Path, out: Path, tiny: bool, steps: int | None) -> None:
    """What each training process does: the stages in order, each resumed where it stopped."""
    torch.set_num_threads(1)
    if processes > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{PORT}", rank=process, world_size=processes)
    run = Run(work, MINUTES)
    config, tokenizer = prepare(run, tiny=tiny)
    model = new_model(config)
    if not run.state_file("read").exists() and not run.state_file("whole").exists():
        stages.see(run, model, steps=steps)
    if not run.state_file("whole").exists():
        wait()
        stages.inherit(run, "see", model, visual_only=True)
        stages.read(run, model, tokenizer, steps=steps)
    wait()
    stages.inherit(run, "read", model)
    stages.whole(run, model, tokenizer, steps=steps)
    if run.minutes("more"):
        wait()
        stages.inherit(run, "whole", model)
        stages.whole(run, model, tokenizer, stage="more", steps=steps)
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
    run = Run(work, MINUTES)
    config, _ = prepare(run)
    model = new_model(config)
    stage = next(s for s in ("more", "whole", "read") if run.state_file(s).exists())
    stages.inherit(run, stage, model)
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
    parser.add_argument("--tiny", action="store_true", help="a far smaller model, to try the machinery")
    parser.add_argument("--resume", action="store_true", help="go on where --work stopped")
    options = parser.parse_args()
    if options.action == "evaluate":
        from ovis_app.training.mini.evaluate import evaluate, table

        print(table(evaluate(options.model, number=options.number)))
    elif options.action == "export":
        print(f"wrote stage {export_latest(options.work, options.out)} to {options.out}")
    else:
        if not options.resume and list(options.work.glob("*.pt")):
            parser.error(f"{options.work} holds an earlier run: add --resume, or name another --work")
        arguments = (options.processes, options.work, options.out, options.tiny, options.steps)
        prepare(Run(options.work, MINUTES), tiny=options.tiny)
        spawn(train, args=arguments, nprocs=options.processes)


if __name__ == "__main__":
    main()
