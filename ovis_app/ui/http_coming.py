"""Bodies on their way: only so many at a time, and of so many bytes together. Where there is room for no more, whoever
sends slowly makes way, and behind that whoever has more than a quarter of all: nobody keeps a place by sending little.

Knows names, sizes and a clock. Refuses to know what a body is for, and how it comes.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter

from ovis_app.ui.http_bodies import Refused
from ovis_app.ui.http_crowd import CROWDED
from ovis_app.ui.http_line import Who

AT_ONCE = 1024
BEGINNING = 3.0  # seconds in which a body needn't make way because it is slow
LATELY = 2.0  # seconds over which its pace is taken
SHARE = 4  # whoever has more than one part of so many makes way for others, however fast
RETRY_SECONDS = 5


@dataclass(eq=False)
class Body:
    """One that comes. `give_up` refuses the rest of it."""

    who: Who
    give_up: Callable[[], None]
    began: float = field(default_factory=time.monotonic)
    size: int = 0
    whole: bool = False
    _lately: float = 0.0  # bytes, those of long ago forgotten
    _heard: float = 0.0

    def grew(self, size: int) -> None:
        self._lately, self._heard = self.lately + size, time.monotonic()
        self.size += size

    @property
    def lately(self) -> float:
        return self._lately * math.exp((self._heard - time.monotonic()) / LATELY)

    @property
    def begins(self) -> bool:
        return time.monotonic() - self.began < BEGINNING


class Coming:
    """Those that are on their way, `at_once` of them and `most` bytes; `of_one` of a visitor where it is known who that
    is. `sentence` is what is said where nobody makes way."""

    def __init__(
        self, *, at_once: int = AT_ONCE, most: float = math.inf, of_one: float = math.inf, sentence: str = CROWDED
    ) -> None:
        self.at_once, self.most, self.of_one, self.sentence = at_once, most, of_one, sentence
        self._bodies: dict[Body, None] = {}
        self._size = 0  # of all of them

    def has(self, body: Body) -> bool:
        return body in self._bodies

    def join(self, body: Body) -> None:
        """Raises Refused, of a body that isn't among them then."""
        who = body.who
        if who.known and sum(one.who.address == who.address for one in self._bodies) >= self.of_one:
            raise self._crowded()
        self._bodies[body] = None
        self._size += body.size
        self._make_room(body)

    def grew(self, body: Body, size: int) -> None:
        """Raises Refused, of a body that isn't among them any more."""
        body.grew(size)
        if body in self._bodies:
            self._size += size
            self._make_room(body)

    def leave(self, body: Body) -> None:
        if body in self._bodies:
            del self._bodies[body]
            self._size -= body.size

    def _make_room(self, body: Body) -> None:
        while len(self._bodies) > self.at_once or self._size > self.most:
            slowest = self._slowest(body)
            self.leave(slowest or body)
            if slowest is None:
                raise self._crowded()
            slowest.give_up()

    def _slowest(self, body: Body) -> Body | None:
        """Who makes way for a body."""
        counts = len(self._bodies) > self.at_once
        share = (self.at_once if counts else self.most) / SHARE
        has: Counter[str] = Counter()
        for one in self._bodies:
            has[one.who.address] += 1 if counts else one.size
        others = [one for one in self._bodies if one is not body and not one.whole]
        slow = [one for one in others if not one.begins]
        greedy = [one for one in others if has[one.who.address] > max(share, has[body.who.address])]
        return min(slow or greedy, key=attrgetter("lately"), default=None)

    def _crowded(self) -> Refused:
        return Refused(429, self.sentence, {"retry-after": str(RETRY_SECONDS)})
