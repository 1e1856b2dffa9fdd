"""A reading from its first page to its last: each is drawn, asked about, cleaned up and kept before the next begins.

Knows the order of things; who answers is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from ovis_app.conversation import Media, Message, Stats
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import open_image
from ovis_app.reading.clean_up import LONG, cleaned, endless
from ovis_app.reading.kept import Kept, Read
from ovis_app.reading.sources import Source, as_picture

LOOKED_AT = 2_000  # characters, after which a text that grows is looked at again

Asked = Callable[[Media], Generator[Message, None, None]]  # the answer to a page as it grows; closing stops it


def left(found: Sequence[Source], kept: Kept) -> list[tuple[Source, int]]:
    """The pages that weren't read yet."""
    return [(one, page) for one in found for page in one.pages if not kept.has((one.digest, page))]


def run(
    pages: Sequence[tuple[Source, int]], kept: Kept, asked: Asked, *, folder: Path, limits: Limits, dpi: int | None,
    model: str = "",
) -> Generator[Read, None, None]:  # fmt: skip
    """Reads pages one after the other, and gives each once it is kept. Pages of documents are drawn into `folder`.
    Raises BatchError where nothing can be written."""
    for source, page in pages:
        try:
            picture, note = as_picture(source, page, folder, limits, dpi)
            done = _read(source, page, picture, kept, asked, limits, note, model)
        except MediaError as error:
            done = Read(source.name, source.digest, page, error=str(error), model=model)
        kept.add(done)
        yield done


def _read(
    source: Source, page: int, picture: Media, kept: Kept, asked: Asked, limits: Limits, note: str, model: str
) -> Read:
    """Raises MediaError where the picture can't be read after all."""
    key = (source.digest, page)
    answer = _heard(asked(picture))
    if answer.error:
        return Read(source.name, *key, error=answer.error, model=model)
    before, behind = kept.figure_names(key)
    text = cleaned(answer.text, lambda number: f"{before}{number}{behind}")
    figures = kept.draw(key, text.figures, open_image(picture, limits) if text.figures else None)
    stats = answer.stats or Stats()
    notes = tuple(one for one in (note, *_remarks(answer, stats), *text.notes) if one)
    return Read(source.name, *key, text.text, figures, notes, model=model, tokens=stats.answer_tokens)


def _remarks(answer: Message, stats: Stats) -> Iterator[str]:
    """What is to be said of how a page was read."""
    if answer.finish == "length" and not endless(answer.text):
        yield f"is longer than {stats.answer_tokens:,} tokens: its end is missing, which --max-new-tokens may bring"
    if not answer.text.strip():
        yield "has nothing that could be read"
    for one in stats.seen:
        if one.pictures > 1:
            yield f"holds {one.pictures:,} pictures, of which one was read"
        if one.small:
            seen, own = f"{one.width} × {one.height}", f"{one.own_width} × {one.own_height}"
            yield f"was seen at {seen} of {own}: small print may be lost"


def _heard(answer: Generator[Message, None, None]) -> Message:
    """The answer, whole or until it does nothing but repeat itself."""
    last, looked = Message("assistant"), LONG
    with closing(answer) as grown:
        for last in grown:
            if len(last.text) > looked:
                looked = len(last.text) + LOOKED_AT
                if endless(last.text):
                    break
    return last
