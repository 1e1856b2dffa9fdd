"""From what a model wrote of a page to Markdown that anybody may open: figures by names of our own, a tail that repeats
itself cut, and of HTML what tables and letters need.

Knows text alone. Whatever a model writes, nothing in the result is run or fetched, and no name of a file is its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

LONG = 8_000  # characters, below which nothing is taken for a repetition
UNIT, TIMES = 200, 5  # what repeats itself is at most so long, and stands there at least so often
ENDLESS = 4_000  # characters of repetition after which nobody waits for the end
MOST_FIGURES = 64  # of one page
LONGEST_TAG = 200  # characters of one that a page may have, while it is still coming
SIDE = 1000  # what coordinates are shares of
MOST_AREA = 4 * SIDE * SIDE  # of a page's figures together: they may lie within each other

# Bounded and possessive (no step back): whatever a model writes is read in time that grows with its length only.
_PICTURE = re.compile(r"<img\b[^<>]{0,1000}+>|!\[[^\[\]\n]{0,300}+\]\([^()\s]{0,300}+\)", re.IGNORECASE)
_BOX = re.compile(
    r"(?<![\w./\\-])images/bbox_([0-9]{1,6})_([0-9]{1,6})_([0-9]{1,6})_([0-9]{1,6})\.jpe?g(?![\w./\\-])", re.ASCII
)
_KEPT = "table|thead|tbody|tfoot|tr|th|td|caption|br|sub|sup|b|i|u|s|em|strong|del|ins|mark|p|ul|ol|li|h[1-6]|hr"
_TAG = re.compile(rf"<(?:(/?)({_KEPT})(?=[\s/>])([^<>]{{0,500}}+)>|(?=[A-Za-z/!?]))|!(?=\[)", re.IGNORECASE)
_SPAN = re.compile(r"\b(colspan|rowspan)\s{0,4}+=\s{0,4}+[\"']?+([0-9]{1,3})(?![0-9])", re.IGNORECASE)
_COMING = re.compile(r"<[/!]?+(?:[A-Za-z][^<>]{0,200}+)?+\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_FENCES = ("```markdown\n", "```md\n")

Box = tuple[int, int, int, int]  # left, top, right, bottom, in thousandths of the page


@dataclass(frozen=True)
class Cleaned:
    """A page's text, the figures that it shows, each once, and what is to be said of either."""

    text: str
    figures: tuple[Box, ...] = ()
    notes: tuple[str, ...] = ()


def cleaned(written: str, name_of: Callable[[int], str] | None) -> Cleaned:
    """What a model wrote of a page. `name_of` says how the nth figure, from 1, is to be called; without, none is."""
    text, repeated = without_tail(_unwrapped(_CONTROL.sub("", written.replace("\r\n", "\n")).strip()))
    figures: dict[Box, int] = {}
    parts, end, lost, beyond = list[str](), 0, 0, set[Box]()
    for match in _PICTURE.finditer(text):
        parts.append(tamed(text[end : match.start()]))
        end = match.end()
        if "images/bbox_" not in match[0].lower():
            parts.append(tamed(match[0]))
        elif (box := _box(match[0])) is None:
            lost += 1
        elif box not in figures and not _room(figures, box):
            beyond.add(box)
        elif name_of is not None:
            number = figures.setdefault(box, len(figures) + 1)
            parts.append(f'<img src="{name_of(number)}" alt="Figure {number}">')
    parts.append(tamed(text[end:]))
    notes = ["repeats itself at its end, which was cut"] if repeated else []
    if lost:
        notes.append(
            f"names {lost} figures that are nowhere on it" if lost > 1 else "names a figure that is nowhere on it"
        )
    if beyond:
        several = f"has {len(beyond)} figures more than are cut out of a page"
        notes.append(several if len(beyond) > 1 else "has one figure more than are cut out of a page")
    return Cleaned("".join(parts).strip(), tuple(figures), tuple(notes))


def unfinished(text: str) -> str:
    """A text that still grows, without a tag at its end that may become one."""
    coming = _COMING.search(text, max(0, len(text) - LONGEST_TAG))
    return text[: coming.start()] if coming else text


def tamed(text: str) -> str:
    """The text, in which no tag does more than lay out a table or a line, and no picture is fetched: what else looks
    like one stays to be read, with a space behind its first sign."""
    return _TAG.sub(_tag, text)


def _tag(match: re.Match[str]) -> str:
    if match[2] is None:
        return f"{match[0]} "
    spans = "" if match[1] else "".join(f' {name.lower()}="{count}"' for name, count in _SPAN.findall(match[3]))
    return f"<{match[1]}{match[2].lower()}{spans}>"


def _box(tag: str) -> Box | None:
    """The part of the page that a tag names; None where there is nothing."""
    found = _BOX.search(tag)
    if found is None:
        return None
    x, y, to_x, to_y = map(int, found.groups())
    if max(x, y, to_x, to_y) > SIDE:
        return None
    box = (min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y))
    return box if box[0] < box[2] and box[1] < box[3] else None


def _room(figures: Collection[Box], box: Box) -> bool:
    """Whether one more figure may be cut out of the page."""
    area = sum((x - left) * (y - top) for left, top, x, y in (*figures, box))
    return len(figures) < MOST_FIGURES and area <= MOST_AREA


def _unwrapped(text: str) -> str:
    """Without the fence that some models put around all of it."""
    fence = next((one for one in _FENCES if text.startswith(one)), None)
    inner = text[len(fence) : -3] if fence and text.endswith("\n```") else ""
    return inner.strip() if inner and "```" not in inner else text


def without_tail(text: str) -> tuple[str, bool]:
    """The text with what it repeats at its end said once, and whether it did."""
    if len(text) <= LONG:
        return text, False
    for unit in range(1, UNIT + 1):
        same = _same(text, unit, len(text))
        if same >= (TIMES - 1) * unit:
            return text[: len(text) - same].rstrip(), True
    return text, False


def endless(text: str) -> bool:
    """Whether a text that still grows does nothing but repeat itself."""
    return len(text) > LONG and any(_same(text, unit, ENDLESS) >= ENDLESS for unit in range(1, UNIT + 1))


def _same(text: str, unit: int, most: int) -> int:
    """How many characters of the end, at most `most`, are the same as those that stand `unit` before them."""
    place = len(text)
    least = max(unit, place - most)
    while place > least and text[place - 1] == text[place - 1 - unit]:
        place -= 1
    return len(text) - place
