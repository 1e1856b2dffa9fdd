"""`ovis batch`: a file or folder of questions, answered. Knows who answers; rows and files are batch_rows.py's and
batch_files.py's.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ovis_app.cli.common import (
    BadInput,
    add_generation,
    add_pages,
    add_schema,
    pages_of,
    path,
    program,
    schema_of,
    started,
)
from ovis_app.named_files import same_file
from ovis_app.settings import Flags, Settings

if TYPE_CHECKING:
    from ovis_app.batch_files import Answerer
    from ovis_app.batch_rows import Questions, Row
    from ovis_app.conversation import Message
    from ovis_app.generation import GenerationSettings
    from ovis_app.json_answers import JsonAnswers
    from ovis_app.limits import Limits


def parser() -> argparse.ArgumentParser:
    flags = Flags(prog=f"{program()} batch", description="Answer many questions; what is answered already is kept.")
    flags.add_argument(
        "input",
        type=path,
        help="a folder of files, a CSV, or JSON lines (columns id, prompt, image, images, video, pdf; or messages)",
    )
    flags.add_argument("--prompt", default="", help="what to ask where a row has no prompt of its own")
    flags.add_argument("--template", metavar="T", help='the prompt of each row, with columns in braces: "Name {thing}"')
    flags.add_argument("--out", type=path, required=True, help="where answers go: .jsonl or .csv; appended to")
    flags.add_argument("--batch-size", type=int, default=4, metavar="N", help="questions answered at once (default: 4)")
    add_pages(flags)
    add_schema(flags)
    add_generation(flags)
    return flags


def run(words: Sequence[str]) -> int:
    given = parser().parse_args(words)
    if not 1 <= given.batch_size <= 256:
        raise BadInput("--batch-size must be a whole number from 1 to 256.")
    if given.out.suffix.lower() not in (".jsonl", ".csv"):
        raise BadInput("--out must end in .jsonl or .csv.")
    if same_file(given.out, given.input):
        raise BadInput("--out is the input itself: name another file.")
    if given.template is not None and given.prompt:
        raise BadInput("--template is the prompt of each row: leave --prompt out.")
    settings, spec, limits, generation = started(given)
    from ovis_app import batch_files
    from ovis_app.errors import BatchError

    schema, choice = schema_of(given), pages_of(given)
    try:
        asked = _asked(given)
        with batch_files.taken(given.out):
            todo = batch_files.left_to_ask(asked.rows, given.out, data=schema is not None)
            answer = _answerer(settings, limits, generation, schema, alone=spec.alone)
            answered = batch_files.run(
                todo,
                given.out,
                answer,
                limits=limits,
                size=given.batch_size,
                parsed=schema.data if schema else None,
                choice=choice,
            )
            return _told(answered, asked, given.out, before=len(asked.rows) - len(todo))
    except BatchError as error:
        raise BadInput(error) from error


def _asked(given: argparse.Namespace) -> Questions:
    from ovis_app.batch_rows import questions
    from ovis_app.prompt_template import Template

    template = None if given.template is None else Template(given.template)
    return questions(given.input, prompt=given.prompt, template=template, besides=given.out)


@dataclass
class _Tally:
    """What came of a run so far, and of what its input isn't read."""

    asked: Questions
    before: int
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    why: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row, message: Message) -> None:
        if message.error:
            self.failed.append(row.id)
            self.why[message.error] += 1
        else:
            self.answered += 1

    def lines(self, out: Path) -> Iterator[str]:
        from ovis_app.batch_rows import few

        before = f", {self.before:,} answered before" if self.before else ""
        yield f"{self.answered:,} answered, {len(self.failed):,} failed{before}, in {out}"
        if self.failed:
            yield f"failed: {few(self.failed)}"
            yield from (f"  {why}" for why, _ in self.why.most_common(REASONS))
        if self.asked.left_out:
            left_out = self.asked.left_out
            yield f"left out, as neither pictures, clips nor PDFs: {len(left_out):,} ({few(left_out)})"
        if self.asked.ignored:
            yield f"columns that aren't read: {len(self.asked.ignored):,} ({few(self.asked.ignored)})"


REASONS = 3  # that are told of rows that failed


def _told(answers: Iterator[tuple[Row, Message]], asked: Questions, out: Path, *, before: int) -> int:
    """Shows how a run goes on and, however it ends, what came of it. Returns the exit code."""
    from tqdm import tqdm

    tally = _Tally(asked, before)
    try:
        with closing(answers), tqdm(total=len(asked.rows), initial=before, unit="row") as bar:  # type: ignore[type-var]
            for row, message in answers:
                tally.add(row, message)
                bar.update()
    finally:
        for line in tally.lines(out):
            print(line, file=sys.stderr)
    return 1 if tally.failed else 0


def _answerer(
    settings: Settings, limits: Limits, generation: GenerationSettings, schema: JsonAnswers | None, *, alone: bool
) -> Answerer:
    """Who answers a batch; a model is loaded once there is something to answer. Raises BackendError."""
    answer = _backend(settings, limits, generation, alone=alone)
    return schema.answerer(answer) if schema else answer


def _backend(settings: Settings, limits: Limits, generation: GenerationSettings, *, alone: bool) -> Answerer:
    def asked(system: str) -> GenerationSettings:
        return replace(generation, system=system or generation.system)

    if settings.backend != "local" or alone:
        from ovis_app.backends import many, open_backend

        backend = open_backend(settings, limits)
        return lambda conversations, system: many.answers(backend, conversations, asked(system))
    from ovis_app.backends import require_local

    require_local()
    from ovis_app.backends.local.offline import OfflineAnswers

    offline = cache(lambda: OfflineAnswers(settings, limits))
    return lambda conversations, system: offline().answer(conversations, asked(system))
