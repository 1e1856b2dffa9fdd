"""Which pages of a document are meant: `1-3,7,10-`. Knows numbers from 1 on; refuses to know documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ovis_app.errors import UserError

MOST_PARTS = 100
_PART = re.compile(r"([1-9][0-9]{0,5})(?:\s?([-–])\s?([1-9][0-9]{0,5})?)?")  # word processors write an en dash


@dataclass(frozen=True)
class PageRange:
    """Spans of pages, first and last, in the order in which they are wanted; no last one is the document's."""

    spans: tuple[tuple[int, int | None], ...]

    @staticmethod
    def parse(text: str) -> PageRange:
        """Raises UserError."""
        parts = [part.strip() for part in text.split(",", MOST_PARTS)]
        if len(parts) > MOST_PARTS:
            raise UserError(f"That is more than {MOST_PARTS} ranges of pages: ask for fewer at a time.")
        return PageRange(tuple(_span(part) for part in parts))

    def of(self, count: int) -> tuple[int, ...]:
        """The pages of a document that has `count`, each once; those that it doesn't have are left out."""
        spans = (range(first, min(count, last or count) + 1) for first, last in self.spans)
        return tuple(dict.fromkeys(number for span in spans for number in span))

    def beyond(self, count: int) -> int | None:
        """A page that is asked for by its number and isn't among `count`."""
        return next((first for first, _ in self.spans if first > count), None)


ALL = PageRange(((1, None),))


def spans_of(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Numbers as runs of neighbours, in their order."""
    run: tuple[int, int] | None = None
    for number in numbers:
        if run is not None and number == run[1] + 1:
            run = (run[0], number)
            continue
        if run is not None:
            yield run
        run = (number, number)
    if run is not None:
        yield run


def written(numbers: Sequence[int]) -> str:
    """Pages as `parse` reads them: `1-3,7`."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans_of(numbers))


def _span(text: str) -> tuple[int, int | None]:
    match = _PART.fullmatch(text)
    if match is None:
        shown = text if len(text) <= 20 and text.isprintable() else "That"
        raise UserError(f"“{shown}” is no range of pages: write them as 1-3,7,10- with the first page as 1.")
    first, dash, last = int(match[1]), match[2], match[3]
    if last is not None and int(last) < first:
        raise UserError(f"“{text}” runs backwards: write {last}-{first}.")
    return first, int(last) if last else None if dash else first
