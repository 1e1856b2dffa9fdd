"""How much is under way at a time, counted: of one session, of one visitor where it is known who that is, of all.

Knows names and numbers. Refuses to know what is under way. Sessions anybody may make up, so what one has is bounded for
its own sake, and what a visitor has for the others'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ovis_app.ui.http_bodies import Refused

CROWDED = "Too many questions and files come from here at once: try again in a moment."
OPEN = "This page is open too many times from here: close other tabs of it, and try again."
RETRY_SECONDS = 2


@dataclass(frozen=True)
class Crowd:
    """What is under way of one kind, and how much of it may be."""

    of_session: int
    of_visitor: int
    of_all: int
    sentence: str = CROWDED
    _of: Counter[str] = field(default_factory=Counter)
    _by: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def one_more(self, session: str, visitor: str = "") -> Iterator[None]:
        """While the block runs there is one more. Raises Refused."""
        crowded = (session and self._of[session] >= self.of_session) or (
            visitor and self._by[visitor] >= self.of_visitor
        )
        if crowded or self._of.total() >= self.of_all:
            raise Refused(429, self.sentence, {"retry-after": str(RETRY_SECONDS)})
        both = ((self._of, session), (self._by, visitor))
        for counted, name in both:
            counted[name] += 1
        try:
            yield
        finally:
            for counted, name in both:
                counted[name] -= 1
                if not counted[name]:
                    del counted[name]


def events() -> Crowd:
    """Events that are answered by the request itself."""
    return Crowd(8, 64, 256)


def tabs() -> Crowd:
    """What a tab keeps open as long as it is there. Where it can't, its files stay a while without."""
    return Crowd(8, 64, 1024, OPEN)


def streams() -> Crowd:
    """Answers that somebody listens to."""
    return Crowd(16, 128, 1024, OPEN)
