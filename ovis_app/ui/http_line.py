"""A line for short requests: so many are worked on at a time, and who waits is served in turn between visitors.

Knows who asks, by names that it is given, and a clock. Refuses to know what is asked. Answers are made in threads that
share a processor with the event loop: two hundred at once would keep everybody waiting, whoever came first.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import NamedTuple

from starlette.types import Message, Scope, Send

from ovis_app.ui.http_bodies import Refused
from ovis_app.ui.http_hosts import network_of

AT_ONCE = 2  # requests that are worked on
HELD = 0.25  # seconds that one keeps its place at most: what takes longer waits for something else than the processor
WAITING, OF_ONE = 512, 128  # requests that wait, and of one visitor, where it is known who that is
REMEMBERED = 4096  # names of those who had a turn
RETRY_SECONDS = 2
rank = attrgetter("rank")
CROWDED = "Too much is asked from here at once: wait a moment, and try again."


PROGRAMS = "(no session)"  # whoever calls without naming one: together, or else each connection would be another


class Who(NamedTuple):
    """Whoever asks, by where they are and, behind one address, by what else tells them apart. The second anybody may
    make up. `known` where the address is one visitor's, and not perhaps a proxy's."""

    address: str
    name: str
    known: bool = False


def who_asks(scope: Scope, session: str) -> Who:
    """By the visitor's address where it is known, else by the connection's; by the session that is named, else, of what
    is only read, by the connection."""
    host, port = scope.get("client") or ("", 0)
    visitor = scope["state"]["visitor"]
    name = session or (PROGRAMS if scope["method"] == "POST" else f"{host}:{port}")
    return Who(visitor or network_of(host) or host, name, bool(visitor))


class Place:
    """A request's place in the line. `turn` is there when it is its turn, or when it has lost its place."""

    def __init__(self, who: Who, line: Line) -> None:
        self.who = who
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waited = False
        self.rank = 0  # the lowest one behind an address comes next
        self._line = line

    def until_answered(self, send: Send) -> Send:
        """Sends on, and leaves the line where the answer begins: a stream goes on without a place."""

        async def sent(message: Message) -> None:
            self._line.leave(self)
            await send(message)

        return sent


class Line:
    """Whose last turn was longest ago comes next: first of all addresses, then of the names behind it. Where too many
    wait, the last of the address for which most do makes way."""

    def __init__(self) -> None:
        self._working: set[Place] = set()
        self._waiting: dict[str, list[Place]] = {}  # by address, in the order of coming
        self._turns = 0
        self._had: OrderedDict[tuple[str, ...], int] = OrderedDict()  # who had which turn last

    @asynccontextmanager
    async def place(self, who: Who) -> AsyncIterator[Place]:
        """The block runs when it is its turn. Raises Refused where too many wait."""
        place = Place(who, self)
        try:
            if len(self._working) < AT_ONCE:  # then nobody waits
                self._start(place)
            else:
                self._join(place)
                await place.turn
            yield place
        finally:
            self.leave(place)

    def leave(self, place: Place) -> None:
        """Its place is another's: its answer began, it took too long, or it waits no more."""
        self._working.discard(place)
        self._drop(place)
        while self._waiting and len(self._working) < AT_ONCE:
            address = min(self._waiting, key=lambda one: self._rank((one,)))
            following = min(self._waiting[address], key=rank)
            self._drop(following)
            self._start(following)

    def _join(self, place: Place) -> None:
        who, waiting = place.who, self._waiting
        if who.known and len(waiting.get(who.address, ())) >= OF_ONE:
            raise crowded()
        if sum(map(len, waiting.values())) >= WAITING:
            self._make_way(who.address)
        place.waited, place.rank = True, self._rank(who[:2])
        if who.address not in waiting:
            self._had.setdefault((who.address,), place.rank)
            waiting[who.address] = []
        waiting[who.address].append(place)

    def _make_way(self, address: str) -> None:
        """Raises Refused where that wouldn't be fair."""
        longest = max(self._waiting, key=lambda one: (len(self._waiting[one]), one == address))
        if longest == address:
            raise crowded()
        last = max(reversed(self._waiting[longest]), key=rank)
        self._drop(last)
        if not last.turn.done():
            last.turn.set_exception(crowded())

    def _drop(self, place: Place) -> None:
        waiting = self._waiting.get(place.who.address, [])
        if place in waiting:
            waiting.remove(place)
            if not waiting:
                del self._waiting[place.who.address]

    def _start(self, place: Place) -> None:
        self._working.add(place)
        self._turns += 1
        for name in ((place.who.address,), place.who[:2]):
            self._had[name] = self._turns
            self._had.move_to_end(name)
        while len(self._had) > REMEMBERED:
            self._had.popitem(last=False)
        for other in self._waiting.get(place.who.address, ()):
            if other.who.name == place.who.name:
                other.rank = self._turns
        if not place.turn.done():  # of a request that is being cut off
            place.turn.set_result(None)
        asyncio.get_running_loop().call_later(HELD, self.leave, place)

    def _rank(self, name: tuple[str, ...]) -> int:
        """Its last turn. Who had none yet comes before those who have one just now, but not before all: names are made
        up."""
        return self._had.get(name, self._turns - AT_ONCE)


def crowded() -> Refused:
    return Refused(429, CROWDED, {"retry-after": str(RETRY_SECONDS)})
