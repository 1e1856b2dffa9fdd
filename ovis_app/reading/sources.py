"""What is to be read: files that somebody names, and their pages as pictures that a question can hold.

Knows documents and pictures. What can't be read at all is refused before anything is asked; a page that can't be drawn
costs that page alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits, refusal, shown_name
from ovis_app.media import PageChoice, attach, digest
from ovis_app.media.documents import Document, chosen, is_document
from ovis_app.media.file_types import HEAD, kind_of

PICTURE = 0  # the page of what has none


@dataclass(frozen=True)
class Source:
    """One file, known again by its content wherever it lies. `pages` are those that are wanted; a picture has one."""

    path: Path
    name: str
    digest: str
    pages: tuple[int, ...] = (PICTURE,)


def page_name(name: str, page: int) -> str:
    """What people call a page."""
    return f"page {page} of “{shown_name(name)}”" if page else f"“{shown_name(name)}”"


def sources(files: Sequence[Path], limits: Limits, choice: PageChoice) -> list[Source]:
    """The files, each content once. Raises MediaError for the first that is neither a picture nor a document, or a
    document that can't be opened or lacks a wanted page."""
    found = [_source(path, limits, choice) for path in files]
    return list({one.digest: one for one in reversed(found)}.values())[::-1]


def _source(path: Path, limits: Limits, choice: PageChoice) -> Source:
    known = digest(Media("image", path, path.name))
    if is_document(path):
        count = Document(path, path.name, limits).count()
        return Source(path, path.name, known, chosen(choice.wanted, count, path.name))
    try:
        with path.open("rb") as file:
            kind = kind_of(file.read(HEAD))
    except OSError as error:
        raise refusal(path.name, "could not be opened: check the file.") from error
    if kind.media == "video":
        raise refusal(path.name, "is a clip, and only PDFs and pictures are read: ask about it by `ovis --video`.")
    if kind.media is None:
        raise refusal(path.name, kind.advice or "is neither a PDF nor a picture.")
    return Source(path, path.name, known)


def as_picture(source: Source, page: int, folder: Path, limits: Limits, dpi: int | None) -> tuple[Media, str]:
    """A page as the picture that is asked about, drawn into the folder, and what is to be said of it. Raises
    MediaError."""
    if page == PICTURE:
        return attach(source.path, source.name, limits).still, ""
    with closing(Document(source.path, source.name, limits, dpi=dpi).pages([page])) as drawn:
        made = next(drawn)
    if made.picture is None:
        raise MediaError(f"it {made.note.partition('” ')[2]}")
    file = folder / "page.png"
    try:
        made.picture.save(file, compress_level=1)
    except OSError as error:
        why = "can't be drawn: no file can be written here, so make room and try again."
        raise refusal(source.name, why) from error
    small = f"was drawn at {made.dpi:.0f} dpi: small print may be lost" if made.note else ""
    return Media("image", file, f"{shown_name(source.name)} page {page}"), small
