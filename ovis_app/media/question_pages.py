"""The PDFs among a question's files, in whose place stand pictures of their pages.

Knows how many pictures a question may hold. What a page is, and how it is drawn, is for `documents` to know.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ovis_app.errors import MediaError
from ovis_app.limits import Limits, refusal, shown_name
from ovis_app.media.attach import File
from ovis_app.media.documents import Document, Page, chosen, is_document
from ovis_app.media.incoming_file import NoRoom
from ovis_app.media.page_range import ALL, PageRange, written
from ovis_app.stop import NEVER, Stop, Stopped


@dataclass(frozen=True)
class PageChoice:
    """Which pages of PDFs are looked at, and how closely. All of those must be drawn, or `fewer` says what to do;
    `partly` as many as there is room for."""

    wanted: PageRange = ALL
    dpi: int | None = None
    fewer: str = "send a document of fewer pages"
    partly: bool = False


WHOLE = PageChoice()


def number_of(file: Path) -> int:
    """Which page a picture shows that was drawn here."""
    return int(file.stem.rpartition("-")[2])


def with_pages(
    files: Sequence[File], folder: Path, limits: Limits, choice: PageChoice = WHOLE, *, stop: Stop = NEVER
) -> tuple[list[File], list[str]]:
    """The files of one question, each PDF as a picture a page in `folder`, and sentences about what was left out or is
    small. Raises MediaError, NoRoom where no page can be written, and Stopped once `stop` is set."""
    groups, notes = grouped_with_pages(files, folder, limits, choice, stop=stop)
    return [file for group in groups for file in group], notes


def grouped_with_pages(
    files: Sequence[File], folder: Path, limits: Limits, choice: PageChoice = WHOLE, *, stop: Stop = NEVER
) -> tuple[list[list[File]], list[str]]:
    """The same with a group for each file: itself, or its pages."""
    return _paged(files, folder, limits, choice, stop, time.monotonic() + limits.document_seconds)


def turns_with_pages(
    turns: Sequence[Sequence[File]], folder: Path, limits: Limits, *, stop: Stop = NEVER
) -> tuple[list[list[list[File]]], list[str]]:
    """Those groups for all questions of a conversation, in the time of one; the sentences are about the last."""
    ends = time.monotonic() + limits.document_seconds
    paged = [_paged(files, folder, limits, WHOLE, stop, ends) for files in turns]
    return [groups for groups, _ in paged], paged[-1][1] if paged else []


def _paged(
    files: Sequence[File], folder: Path, limits: Limits, choice: PageChoice, stop: Stop, ends: float
) -> tuple[list[list[File]], list[str]]:
    documents = [is_document(path) for path, _ in files]
    if not any(documents):
        return [[file] for file in files], []
    limit = Stop(stop)
    limit.deadline = ends
    pages = _Pages(folder, limits, choice, limits.files_per_turn - documents.count(False))
    found: list[list[File]] = []
    for (path, name), is_pdf in zip(files, documents, strict=True):
        try:
            document = Document(path, name, limits, limit, choice.dpi) if is_pdf else None
            found.append(pages.of(document) if document else [(path, name)])
        except Stopped as error:
            stop.check()
            raise refusal(name, f"takes too long to draw: {choice.fewer}.") from error
        except OSError as error:
            why = "can't be drawn, since no file can be written here just now: try again later."
            raise NoRoom(str(refusal(name, why))) from error
    return found, pages.notes


@dataclass
class _Pages:
    """What one question takes of its documents."""

    folder: Path
    limits: Limits
    choice: PageChoice
    room: int
    notes: list[str] = field(default_factory=list)

    def of(self, document: Document) -> list[File]:
        """A document's pages as pictures in the folder. Raises MediaError."""
        numbers = self._numbers(document)
        made: list[File] = []
        token = secrets.token_hex(16)  # whoever knows an upload's name may have it
        with closing(document.pages(numbers)) as drawn:
            for page in drawn:
                self._note(page)
                if page.picture is not None:
                    file = self.folder / f"{token}-{page.number}.png"  # as `number_of` reads it
                    page.picture.save(file, compress_level=1)
                    made.append((file, f"{document.name} page {page.number}"))
        if numbers and not made:
            raise refusal(document.name, "has no page that can be drawn: save it again and attach that.")
        self.room -= len(made)
        return made

    def _numbers(self, document: Document) -> tuple[int, ...]:
        """The pages to draw: no more than there is room for. Raises MediaError where those aren't all and must be."""
        count = document.count()
        numbers = chosen(self.choice.wanted, count, document.name)
        if len(numbers) <= self.room:
            return numbers
        if not self.choice.partly:
            asked = f"{len(numbers):,} pages" if len(numbers) > 1 else "1 page"
            held = f"a question holds at most {self.limits.files_per_turn} pictures"
            raise refusal(document.name, f"has {asked} to look at, and {held}: {self.choice.fewer}.")
        taken = numbers[: max(self.room, 0)]
        what = f"Pages {written(taken)}" if len(taken) > 1 else f"Page {taken[0]}" if taken else "None"
        self.notes.append(f"{what} of the {count:,} pages of “{shown_name(document.name)}” fit into one question.")
        return taken

    def _note(self, page: Page) -> None:
        """Raises MediaError for a page that can't be drawn and must be."""
        if page.picture is None and not self.choice.partly:
            raise MediaError(f"{page.note.removesuffix('.')}: leave it out.")
        if page.note:
            self.notes.append(page.note)
