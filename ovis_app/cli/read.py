"""`ovis read`: documents and pictures to Markdown, page by page. Knows who answers, and shows how far it is; what is
read and kept is `reading`'s.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ovis_app.cli.common import (
    BadInput,
    add_generation,
    add_pages,
    pages_of,
    path,
    program,
    say,
    started,
)
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.errors import BatchError, MediaError
from ovis_app.private_folder import temporary_folder
from ovis_app.reading.heard import TOKENS
from ovis_app.settings import Flags

if TYPE_CHECKING:
    from tqdm import tqdm

    from ovis_app.backend import Backend
    from ovis_app.generation import GenerationSettings
    from ovis_app.limits import Limits
    from ovis_app.reading.kept import Kept, Read
    from ovis_app.reading.sources import Source

SAID = 20  # lines about pages


def parser() -> argparse.ArgumentParser:
    flags = Flags(
        prog=f"{program()} read",
        description="Read documents and pictures as Markdown, with tables and figures; what was read is kept.",
    )
    flags.add_argument("files", nargs="+", metavar="FILE", help="a PDF or a picture")
    flags.add_argument(
        "--out", type=path, required=True, metavar="DIR", help="a folder, for document.md and its figures"
    )
    flags.add_argument("--prompt", metavar="P", help="what to ask of each page (default: as the model reads best)")
    add_pages(flags)
    add_generation(flags)
    return flags


def run(words: Sequence[str]) -> int:
    given = parser().parse_args(words)
    if os.path.isfile(given.out):  # noqa: PTH113 - Path's own raises
        raise BadInput("--out is a file: name a folder.")
    if given.prompt is not None and not given.prompt.strip():
        raise BadInput("--prompt is empty: ask something, or leave it out.")
    settings, spec, limits, generation = started(given, tokens=TOKENS)
    from ovis_app.backends import open_backend
    from ovis_app.reading.kept import Kept

    limits = replace(limits, page_pixels=max(limits.page_pixels, spec.single.max_pixels))  # as large as it is seen

    try:
        found = _sources(given, limits)
        kept = Kept(given.out)
    except (BatchError, MediaError) as error:
        raise BadInput(error) from error
    with closing(kept), temporary_folder() as folder, closing(open_backend(settings, limits)) as backend:
        reader = _Reader(backend, generation, given.prompt or spec.reading)
        try:
            return reader.read(found, kept, limits, folder=folder, dpi=given.dpi, model=spec.name)
        except BatchError as error:
            raise BadInput(error) from error


def _sources(given: argparse.Namespace, limits: Limits) -> list[Source]:
    """Raises BadInput or MediaError."""
    from ovis_app.media.documents import is_document
    from ovis_app.named_files import all_named
    from ovis_app.reading.sources import sources

    choice = pages_of(given)
    files = [path for name in given.files for path in all_named(name)]
    if (given.pages, given.dpi) != (None, None) and not any(map(is_document, files)):
        raise BadInput("--pages and --dpi are for PDFs: name one.")
    return sources(files, limits, choice)


@dataclass
class _Reader:
    """Asks one page after the other, and tells how far that is."""

    backend: Backend
    generation: GenerationSettings
    prompt: str
    bar: tqdm[Read] | None = None
    done: list[Read] = field(default_factory=list)

    def read(
        self, found: Sequence[Source], kept: Kept, limits: Limits, *, folder: Path, dpi: int | None, model: str
    ) -> int:
        """Returns the exit code."""
        from tqdm import tqdm

        from ovis_app.reading.run import left, run

        todo, count = left(found, kept), sum(len(one.pages) for one in found)
        pages = run(todo, kept, self._asked, folder=folder, limits=limits, dpi=dpi, model=model)
        try:
            with closing(pages), tqdm(total=count, initial=count - len(todo), unit="page") as self.bar:
                for page in pages:
                    self.done.append(page)
                    self.bar.update()
        finally:
            self._tell(kept, before=count - len(todo))
        return 1 if any(page.error for page in self.done) else 0

    def _asked(self, picture: Media) -> Generator[Message, None, None]:
        from ovis_app import chat
        from ovis_app.generation import Request

        request = Request(Conversation((Message("user", self.prompt, (picture,)),)), self.generation)
        with closing(chat.reply(self.backend, request)) as grown:
            for conversation in grown:
                message = conversation.messages[-1]
                if self.bar is not None:
                    so_far = f"{len(message.text):,} characters" if message.text else message.status
                    self.bar.set_postfix_str(f"{picture.label}: {so_far}", refresh=False)
                    self.bar.update(0)
                yield message

    def _tell(self, kept: Kept, *, before: int) -> None:
        """What came of it, however it ended."""
        failed = [page for page in self.done if page.error]
        earlier = f", {before:,} read before" if before else ""
        print(
            f"{len(self.done) - len(failed):,} read, {len(failed):,} failed{earlier}, in {kept.text}", file=sys.stderr
        )
        said = [f"{page.title} {note}." for page in self.done for note in page.notes]
        said = [f"{page.title} was not read: {page.error}" for page in failed] + said
        for line in said[:SAID]:
            say(line)
        if len(said) > SAID:
            say(f"{len(said) - SAID:,} more of that in {kept.text.parent / 'pages.jsonl'}.")
