"""`ovis finetune`: what a model is to learn from and how, looked at before anything is loaded; --dry-run tells it.

Knows flags and the console. Parses flags before it imports anything heavy; who trains is handed in.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ovis_app import endings
from ovis_app import settings as settings_module
from ovis_app.cli.common import MACHINE, BadInput, check_there_is, path, prepare_proxies, program, say, settings_of
from ovis_app.errors import BackendError, DataError
from ovis_app.private_folder import temporary_folder
from ovis_app.settings import Flags

if TYPE_CHECKING:
    from ovis_app.training.finetune.plan import Data, Plan

CHOSEN = ("train", "lr", "rank", "alpha", "dropout", "epochs", "batch", "accumulate", "max_tokens", "val",
          "checkpointing", "seed", "save_every", "merge")  # fmt: skip


def parser() -> argparse.ArgumentParser:
    flags = Flags(
        prog=f"{program()} finetune",
        description="Teach a model something: what it is to say, in samples of your own.",
        epilog="For Ovis-mini defaults are other ones: all of it learns, at 1e-3, without "
        "dropout, in 14 epochs of 4 samples a step.",
    )
    flags.add_argument(
        "data",
        type=path,
        help="samples: a list in JSON (conversations, image, video), a datainfo of such, or .jsonl (also messages)",
    )
    flags.add_argument("--out", type=path, metavar="DIR", help="a new folder for what comes out")
    _add_data(flags)
    _add_method(flags)
    flags.add_argument("--resume", action="store_true", help="go on with the run in --out")
    flags.add_argument("--dry-run", action="store_true", help="say what would be learnt and what it takes, and stop")
    settings_module.add_arguments(flags, ("model", *MACHINE))
    return flags


def _add_data(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("--sets", default="", metavar="A|B", help="which sets of a datainfo (default: all)")
    flags.add_argument("--image-dir", type=path, metavar="DIR", help="where pictures lie (default: the data's folder)")
    flags.add_argument("--skip-bad", action="store_true", help="leave out samples that can't be used")
    flags.add_argument("--too-long", choices=("drop", "error"), default="drop", help="what to do with these samples")
    flags.add_argument(
        "--mix", action="append", default=[], metavar="FILE[:SHARE]",
        help="old samples mixed in, and their part of all (default: 0.2), against forgetting; for Ovis-mini some are "
        "drawn (mini:SHARE) unless this is none",
    )  # fmt: skip
    flags.add_argument("--val", type=float, metavar="SHARE", help="part of the samples to judge by (default: 0.05)")
    for name in ("min_pixels", "max_pixels", "max_partition", "frames"):
        flags.add_argument(
            f"--{name.replace('_', '-')}", type=int, metavar="N", help="as of `ask` (default: as the app asks)"
        )


def _add_method(flags: argparse.ArgumentParser) -> None:
    flags.add_argument(
        "--method", choices=("lora", "full"), default="lora", help="an adapter (default), or all weights"
    )
    flags.add_argument("--train", metavar="PARTS", help="what learns: llm, tower, head, vte or all, as llm,tower:1e-5")
    flags.add_argument("--lr", type=float, metavar="RATE", help="learning rate (default: 1e-4, of --method full 1e-5)")
    flags.add_argument("--rank", type=int, metavar="N", help="of a LoRA (default: 16)")
    flags.add_argument("--alpha", type=int, metavar="N", help="of a LoRA (default: 32)")
    flags.add_argument("--dropout", type=float, metavar="P", help="of a LoRA (default: 0.05)")
    flags.add_argument("--epochs", type=float, metavar="N", help="times that each sample is seen (default: 3, full 1)")
    flags.add_argument("--batch", type=int, metavar="N", help="samples at once (default: 1)")
    flags.add_argument("--accumulate", type=int, metavar="N", help="batches a step (default: 16)")
    flags.add_argument("--max-tokens", type=int, metavar="N", help="longest sample (default: 4096)")
    flags.add_argument(
        "--checkpointing", action=argparse.BooleanOptionalAction, default=None,
        help="compute activations twice, to keep fewer of them",
    )  # fmt: skip
    flags.add_argument("--seed", type=int, metavar="N", help="of all that is drawn (default: 0)")
    flags.add_argument("--save-every", type=int, metavar="STEPS", help="default: at the end of each epoch")
    flags.add_argument("--merge", action="store_true", default=None, help="write a folder with the adapter merged in")


def run(words: Sequence[str], train: Callable[[Plan], None]) -> int:
    """Makes a plan and hands it to `train`, or tells it. Returns the exit code."""
    given = parser().parse_args(words)
    if given.out is None and (given.resume or not given.dry_run):
        raise BadInput("--out is missing: name the folder for what comes out.")
    with temporary_folder() as folder:
        try:
            plan = _planned(given, folder)
        except DataError as error:
            raise BadInput(error) from error
        if given.dry_run:
            from ovis_app.training.finetune.dry_run import lines

            print("\n".join(lines(plan)))
            return 0
        tell = partial(_tell_how_to_go_on, plan.out, words)
        with endings.at_last(tell):
            try:
                train(plan)
            except KeyboardInterrupt:
                tell()
                raise
    return 0


def _tell_how_to_go_on(out: Path, words: Sequence[str]) -> None:
    from ovis_app.training.finetune.run_folder import RunFolder

    saved = RunFolder(out).checkpoints()
    if saved:
        again = shlex.join([*words, *([] if "--resume" in words else ["--resume"])])
        with suppress(OSError):  # a terminal that was closed
            say(f"step {saved[-1][0]} is saved; to go on: {program()} finetune {again}")


def _planned(given: argparse.Namespace, drawn: Path) -> Plan:
    """The plan that the flags describe; pictures that are drawn for it lie in `drawn`. Raises DataError, BadInput, and
    BackendError where the model's files can't be fetched or used."""
    settings = settings_of(given)
    prepare_proxies(settings)
    from ovis_app import zoo
    from ovis_app.backends import link, require_local

    require_local()
    link()
    from ovis_app.training.finetune import plan as plans
    from ovis_app.training.finetune.choices import choices_of, mistakes
    from ovis_app.training.finetune.run_folder import check_new, check_same

    spec = zoo.resolve(settings.model)
    check_there_is(spec, settings.model)
    chosen = {name: getattr(given, name) for name in CHOSEN}
    named = [name for name in CHOSEN if chosen[name] is not None]
    _refuse(mistakes(spec, given.method, settings.quantize, named))
    choices, limits = choices_of(spec, given.method, chosen), settings.limits()
    placement = plans.placed(spec, settings)
    data, out = _data(given, own=spec.bundled), given.out or Path()
    if given.out is not None and not given.resume:
        check_new(out)
    loaded = plans.load(spec, data, limits, drawn, choices, note=_note)
    if not given.dry_run:
        plans.check_weights(spec, placement, choices)
    plan = plans.make(spec, placement, loaded, choices, data, out, limits, resume=given.resume, progress=_progress)
    _refuse(mistakes(plan.spec, given.method, settings.quantize, named))  # of a name that told little
    if given.resume:
        check_same(plan)
    if not given.dry_run:
        plans.check_memory(plan)
    _progress("", None)
    return plan


def _refuse(mistake: str) -> None:
    if mistake:
        raise BadInput(mistake)


def _data(given: argparse.Namespace, *, own: bool) -> Data:
    from ovis_app.conversation import Detail
    from ovis_app.generation import GenerationSettings
    from ovis_app.training.finetune.mixing import chosen
    from ovis_app.training.finetune.plan import Data

    sizes = {name: getattr(given, name) for name in ("min_pixels", "max_pixels", "max_partition", "frames")}
    try:
        GenerationSettings(**sizes).check()
    except BackendError as error:
        raise BadInput(error) from error
    folder = given.image_dir
    if folder is not None and not folder.is_dir():
        raise BadInput(f"there is no folder {folder}: check --image-dir.")
    return Data(
        given.data, given.sets, folder, chosen(given.mix, own=own), given.skip_bad,
        given.too_long == "drop", Detail(**sizes),
    )  # fmt: skip


def _note(words: str) -> None:
    _progress(words, None)


def _progress(words: str, share: float | None) -> None:
    """One line that is written over, where somebody looks."""
    if sys.stderr.isatty():
        done = "" if share is None else f" {share:.0%}"
        print(f"\r\x1b[K{words}{done}", end="", file=sys.stderr, flush=True)
