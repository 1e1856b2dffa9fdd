"""A page while it is read: what a model says of it as it grows, until it ends or does nothing but repeat itself, and
what is to be said of that then.

Knows messages; refuses to know who answers, and where the text goes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

from ovis_app.conversation import Message, Stats
from ovis_app.reading.clean_up import LONG, endless

TOKENS = 16_384  # of a page, where nobody says how many: a dense one has 4,000, a table of figures three times as many
LOOKED_AT = 2_000  # characters, after which a text that grows is looked at again


def heard(answer: Generator[Message, None, None]) -> Generator[Message, None, None]:
    """The answer as it grows, whole at last or until it does nothing but repeat itself."""
    looked = LONG
    with closing(answer) as grown:
        for last in grown:
            yield last
            if len(last.text) > looked:
                looked = len(last.text) + LOOKED_AT
                if endless(last.text):
                    break


def remarks(answer: Message, more: str = "") -> Iterator[str]:
    """What is to be said of how a page was read, as what follows its name. `more` is what may bring the end of one that
    is too long."""
    stats = answer.stats or Stats()
    if answer.finish == "length" and not endless(answer.text):
        yield f"is longer than {stats.answer_tokens:,} tokens: its end is missing{more}"
    if not answer.text.strip():
        yield "has nothing that could be read"
    for one in stats.seen:
        if one.pictures > 1:
            yield f"holds {one.pictures:,} pictures, of which one was read"
        if one.small:
            seen, own = f"{one.width} × {one.height}", f"{one.own_width} × {one.own_height}"
            yield f"was seen at {seen} of {own}: small print may be lost"
