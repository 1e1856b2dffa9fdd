"""Trains and evaluates Ovis-mini: `python -m ovis_app.training.mini --out DIR` and `... mini evaluate [--model DIR]`;
`... mini checksums [--model DIR]` notes what its files are, after one of them was put there by hand.

Knows the command line. Refuses to know what a run is made of.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.multiprocessing.spawn import spawn

from ovis_app.checkpoints import checksums
from ovis_app.training.mini.course import HOST, PLAN, PLAN_ON, export_latest, prepare, train
from ovis_app.training.mini.trainer import Run

HOME = Path("assets/ovis-mini")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train Ovis-mini, or evaluate it on fresh scenes.")
    parser.add_argument("action", nargs="?", choices=("train", "export", "evaluate", "checksums"), default="train")
    parser.add_argument("--out", type=Path, default=HOME, help="the checkpoint folder to write")
    parser.add_argument("--work", type=Path, default=Path("runs/mini"), help="logs and resumable checkpoints")
    parser.add_argument("--model", type=Path, default=HOME, help="the checkpoint folder to evaluate, or to note")
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
    elif options.action == "checksums":
        checksums.write(options.model)
        print(f"wrote {options.model / checksums.SUMS}")
    elif options.action == "export":
        print(f"wrote stage {export_latest(options.work, options.out)} to {options.out}")
    else:
        if not options.resume and list(options.work.glob("*.pt")):
            parser.error(f"{options.work} holds an earlier run: add --resume, or name another --work")
        meeting = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)  # at a port that is free
        arguments = (options.processes, options.work, options.out, options.tiny, options.steps, meeting.port)
        run = Run(options.work, PLAN if options.start is None else PLAN_ON)
        prepare(run, tiny=options.tiny, start=options.start)
        spawn(train, args=arguments, nprocs=options.processes)


if __name__ == "__main__":
    main()
