"""Where the media of a message stand in its text: read from parts, as OpenAI writes them, or from tags, as data sets
have them; and given back as parts, for whoever writes a prompt.

Pure values. Refuses to look for tags by itself: typed text stays text unless who got it knows that it has some.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ovis_app.conversation import Message

TAG = re.compile(r"<(image|video|audio)>")

Place = int | None  # how many characters of the text stand before a file; None is before all of it


def joined(parts: Iterable[str | None]) -> tuple[str, tuple[Place, ...]]:
    """Parts, None for a file, as one text of a line each, which is what Ovis2.5's own template makes of them; and where
    the files stand. They have no places where they all come first: that is what each family writes in its own way."""
    lines = list(parts)
    text = "\n".join(line or "" for line in lines)
    files = [number for number, line in enumerate(lines) if line is None]
    if files == list(range(len(files))):
        return "\n".join(line for line in lines if line is not None), ()
    return text, tuple(len("\n".join(line or "" for line in lines[: number + 1])) for number in files)


def untagged(text: str) -> tuple[str, tuple[int, ...]]:
    """A text without its tags, and where they stood."""
    pieces = TAG.split(text)[::2]
    ends = [sum(map(len, pieces[: number + 1])) for number in range(len(pieces) - 1)]
    return "".join(pieces), tuple(ends)


def miscounted(tags: int, files: int) -> str:
    """What is said of a text whose tags aren't as many as its files; it follows who has them."""
    have = f"{tags} <image> or <video> tag{'s' * (tags != 1)} and {files} file{'s' * (files != 1)}"
    return f"has {have}: write one where each file stands, or none at all."


def ahead(places: Sequence[Place]) -> int:
    """How many of the files stand before the text: the first that have no place."""
    return next((number for number, place in enumerate(places) if place is not None), len(places))


def parts(text: str, places: Sequence[Place]) -> list[str | int]:
    """The text in pieces, and between them the number of each file that stands there; without those ahead of it. Files
    keep their order, whatever their places say."""
    found, done = list[str | int](), 0
    for number in range(ahead(places), len(places)):
        place = places[number]
        end = done if place is None else min(max(place, done), len(text))
        found += [text[done:end], number] if end > done else [number]
        done = end
    return [*found, text[done:]] if done < len(text) else found


def in_place(message: Message, places: Sequence[Place], counts: Sequence[int]) -> Message:
    """The message with its media at these places of its text, as many at each as `counts` says, a line each: the pages
    of a document, the pieces of a picture. Without any places they stay before the text."""
    if ahead(places) == len(places):
        return message
    text, done, found = "", 0, list[Place]()
    for place, count in zip(places, counts, strict=True):
        if place is not None:
            end = max(place, done)
            text, done = text + message.text[done:end], end
        for number in range(count):
            text += "\n" if number and place is not None else ""
            found.append(None if place is None else len(text))
    media = tuple(replace(one, place=place) for one, place in zip(message.media, found, strict=True))
    return replace(message, text=text + message.text[done:], media=media)
