"""A reading from its first page to its last: each is drawn, asked about, cleaned up and kept before the next begins.

Knows the order of things; who answers is passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

from ovis_app.conversation import Media, Message, Stats
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import open_image
from ovis_app.reading.clean_up import cleaned
from ovis_app.reading.heard import heard, remarks
from ovis_app.reading.kept import Kept, Read
from ovis_app.reading.sources import Source, as_picture

MORE = ", which --max-new-tokens may bring"

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
    with closing(heard(asked(picture))) as grown:
        answer = deque(grown, maxlen=1).pop()
    if answer.error:
        return Read(source.name, *key, error=answer.error, model=model)
    before, behind = kept.figure_names(key)
    text = cleaned(answer.text, lambda number: f"{before}{number}{behind}")
    figures = kept.draw(key, text.figures, open_image(picture, limits) if text.figures else None)
    stats = answer.stats or Stats()
    notes = tuple(one for one in (note, *remarks(answer, MORE), *text.notes) if one)
    return Read(source.name, *key, text.text, figures, notes, model=model, tokens=stats.answer_tokens)
