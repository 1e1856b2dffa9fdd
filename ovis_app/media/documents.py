"""The pages of PDF documents as pictures, one after the other. Knows what a page is and what to tell people; they are
drawn by `document_decoder`, in a process that can be killed.

A page that can't be drawn costs that page alone. Refuses to know what is asked about pages, and where pictures go.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from ovis_app.errors import MediaError
from ovis_app.limits import MEGABYTE, Limits, refusal, shown_name
from ovis_app.media import decoder_process
from ovis_app.media.file_types import HEAD, PDF, kind_of
from ovis_app.media.page_range import PageRange, spans_of
from ovis_app.stop import NEVER, Stop

log = logging.getLogger(__name__)

SHARPEST = 300  # dpi at which a small page is drawn where nobody asks for more
LEGIBLE = 72  # dpi below which small print can't be read, and that is said
MOST_DPI = 1200
CM = 2.54 / 72  # a point


@dataclass(frozen=True)
class Page:
    """One page, upright as its document turns it, on white. `note` is a sentence for people: why there is no picture,
    or why it is smaller than it should be."""

    number: int  # from 1
    points: tuple[float, float] = (0.0, 0.0)  # width and height in 1/72 inch
    dpi: float = 0.0  # at which it was drawn
    picture: Image.Image | None = None
    note: str = ""


def is_document(path: Path) -> bool:
    """Whether a file is a PDF, by its content. What is no file isn't opened: a pipe would be waited for."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return kind_of(file.read(HEAD)) is PDF
    except OSError:
        return False  # the gate for pictures says what is wrong with it


def no_document(name: str) -> MediaError:
    """What is said of a file that isn't a PDF."""
    return refusal(name, "is no PDF document: give it as a picture or a clip, if it is one.")


def chosen(wanted: PageRange, count: int, name: str) -> tuple[int, ...]:
    """The wanted pages of a document that has `count`. Raises MediaError for one that isn't there."""
    if (missing := wanted.beyond(count)) is not None:
        there = "1 page" if count == 1 else f"{count:,} pages"
        raise refusal(name, f"has {there}, and no page {missing:,}: choose among those.")
    return wanted.of(count)


@dataclass(frozen=True)
class Document:
    """A document, and how its pages are drawn: with the resolution `dpi`, or with as many pixels as a model sees well,
    and never with more than `limits.page_most_pixels`. Nothing of it is kept open between two calls.

    `stop` is asked at least every 0.1 s. Raises MediaError where the document can't be read, and Stopped once `stop` is
    set."""

    path: Path
    name: str
    limits: Limits
    stop: Stop = NEVER
    dpi: int | None = None

    def count(self) -> int:
        """How many pages there are."""
        with closing(self._records(())) as records:
            return int(next(records)[0]["pages"])

    def pages(self, numbers: Sequence[int]) -> Generator[Page, None, None]:
        """Pages that are known to be there, drawn as they are taken. While this is open it holds one of the few places
        for drawing.

        A page that takes too long, or ends a process that has drawn nothing yet, is lost; the next process draws the
        others."""
        left = list(numbers)
        while left:
            before = len(left)
            try:
                with closing(self._records(left)) as records:
                    next(records)  # the count
                    for record, raw in records:
                        page = _page(left[0], self.name, record, raw, self.dpi)
                        del left[0]
                        yield page
                if left:
                    raise decoder_process.Broken
            except decoder_process.OutOfTime:
                yield _lost(left.pop(0), self.name, "slow")
            except (decoder_process.Broken, IndexError):
                if left and len(left) == before:
                    yield _lost(left.pop(0), self.name, "broken")

    def _records(self, numbers: Sequence[int]) -> Generator[decoder_process.Record, None, None]:
        """What a process tells: how many pages there are, then page by page. Raises MediaError until the first record,
        and later OutOfTime and Broken."""
        begun = False
        try:
            with self.path.open("rb") as file:
                job = self._job(file, numbers)
                with closing(decoder_process.page_records(file, job, self.limits, self.stop)) as records:
                    for record, raw in records:
                        if not begun:
                            _check(record, self.name, self.limits)
                        begun = True
                        yield record, raw
            if not begun:
                raise decoder_process.Broken
        except (decoder_process.OutOfTime, decoder_process.Broken) as error:
            if begun:
                raise
            code = "slow" if isinstance(error, decoder_process.OutOfTime) else "damaged"
            raise _refused(self.name, code) from error
        except FileNotFoundError as error:
            raise refusal(self.name, "is no longer here: attach it again.") from error
        except OSError as error:
            log.warning("document not read: %s", type(error).__name__)
            raise refusal(self.name, "could not be read just now: try again in a moment.") from error

    def _job(self, file: BinaryIO, numbers: Sequence[int]) -> dict[str, Any]:
        """What the process is told. Raises MediaError for what is no PDF, or too large a one."""
        if kind_of(file.read(HEAD)) is not PDF:
            raise no_document(self.name)
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size > self.limits.document_bytes:
            most = self.limits.document_bytes / MEGABYTE
            raise refusal(self.name, f"is larger than the {most:g} MB allowed for documents: split it and try again.")
        return {
            "spans": list(spans_of(numbers)),
            "dpi": min(self.dpi, MOST_DPI) if self.dpi else None,
            "pixels": self.limits.page_pixels,
            "sharpest": SHARPEST,
            "most_pixels": self.limits.page_most_pixels,
            "memory": self.limits.document_memory + size,
            "page_seconds": self.limits.page_seconds,
        }


def _check(record: dict[str, Any], name: str, limits: Limits) -> None:
    """Raises MediaError where the document can't be read."""
    if "refused" in record:
        log.info("document refused: %s %s", record["refused"], record.get("cause", ""))
        raise _refused(name, str(record["refused"]))
    if not isinstance(record.get("pages"), int):
        raise decoder_process.Broken
    if record["pages"] > limits.document_pages:
        raise refusal(name, f"has more than {limits.document_pages:,} pages: split it and try again.")


_SENTENCES = {
    "locked": "is locked with a password: save a copy without one and attach that.",
    "sealed": "is protected in a way that can't be read here: print it to a new PDF and attach that.",
    "empty": "has no pages: save it again and attach that.",
    "cut": "is incomplete, its end is missing: save or download it again and attach that.",
    "damaged": "is damaged: save or download it again and attach that.",
    "slow": "takes too long to open: print it to a new PDF and attach that.",
    "memory": "needs too much memory to open: split it and attach a part.",
}
_LOST = {
    "slow": "takes too long to draw",
    "memory": "needs too much memory to draw",
    "size": "has no size that can be drawn",
    "broken": "can't be drawn",
}


def _refused(name: str, code: str) -> MediaError:
    return refusal(name, _SENTENCES.get(code, _SENTENCES["damaged"]))


def _lost(number: int, name: str, code: str) -> Page:
    log.info("page not drawn: %s", code)
    why = _LOST.get(code, _LOST["broken"])
    return Page(number, note=f"Page {number} of “{shown_name(name)}” {why}.")


def _page(number: int, name: str, record: dict[str, Any], raw: bytes, dpi: int | None) -> Page:
    """Raises Broken for what is no page."""
    if "refused" in record:
        return _lost(number, name, str(record["refused"]))
    try:
        picture = Image.frombytes("RGB", (record["width"], record["height"]), raw)
        width, height = (float(side) for side in record["points"])
        drawn = float(record["dpi"])
        if record["page"] != number:
            raise ValueError("another page")
    except (KeyError, ValueError, TypeError) as error:
        raise decoder_process.Broken from error
    note = ""
    if drawn < min(dpi or LEGIBLE, MOST_DPI) * 0.99:
        note = (
            f"Page {number} of “{shown_name(name)}” is {width * CM:.0f} x {height * CM:.0f} cm large and was drawn at "
            f"{drawn:.0f} dpi: small print may be lost."
        )
    return Page(number, (width, height), drawn, picture, note)
