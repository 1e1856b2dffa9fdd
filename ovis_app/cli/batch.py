"""`ovis batch`: a file or folder of questions, answered. Knows who answers; files are batch_files.py's."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ovis_app.cli.common import BadInput, add_generation, program, started
from ovis_app.settings import Flags, Settings

if TYPE_CHECKING:
    from ovis_app.batch_files import Answerer
    from ovis_app.generation import GenerationSettings
    from ovis_app.limits import Limits


def parser() -> argparse.ArgumentParser:
    flags = Flags(prog=f"{program()} batch", description="Answer many questions; what is answered already is kept.")
    flags.add_argument("input", type=Path, help="a folder of files, a CSV or .jsonl (id, prompt, image, images, video)")
    flags.add_argument("--prompt", default="", help="what to ask where a row has no prompt of its own")
    flags.add_argument("--out", type=Path, required=True, help="where answers go: .jsonl or .csv; appended to")
    flags.add_argument("--batch-size", type=int, default=4, metavar="N", help="questions answered at once (default: 4)")
    add_generation(flags)
    return flags


def run(words: Sequence[str]) -> int:
    given = parser().parse_args(words)
    settings, limits, generation = started(given)
    from tqdm import tqdm

    from ovis_app import batch_files
    from ovis_app.errors import BatchError

    if not 1 <= given.batch_size <= 256:
        raise BadInput("--batch-size must be a whole number from 1 to 256.")
    if given.out.suffix.lower() not in (".jsonl", ".csv"):
        raise BadInput("--out must end in .jsonl or .csv.")
    if given.out.resolve() == given.input.resolve():
        raise BadInput("--out is the input itself: name another file.")
    try:
        asked = batch_files.rows(given.input, given.prompt)
        answer = _answerer(settings, limits, generation)
        with tqdm(total=len(asked), initial=len(batch_files.done(given.out)), unit="row") as bar:
            answered, failed = batch_files.run(
                asked,
                given.out,
                answer,
                limits=limits,
                size=given.batch_size,
                progress=bar.update,
            )
    except (BatchError, OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(error) from error
    print(f"{answered} answered, {failed} failed, in {given.out}", file=sys.stderr)
    return 1 if failed and not answered else 0


def _answerer(settings: Settings, limits: Limits, generation: GenerationSettings) -> Answerer:
    """Who answers a batch; a model is loaded once there is something to answer. Raises BackendError."""
    if settings.backend != "local":
        from ovis_app.backends import many, open_backend

        backend = open_backend(settings, limits)
        return lambda conversations: many.answers(backend, conversations, generation)
    from ovis_app.backends import require_local

    require_local()
    from ovis_app.backends.local.offline import OfflineAnswers

    offline = cache(lambda: OfflineAnswers(settings, limits))
    return lambda conversations: offline().answer(conversations, generation)
