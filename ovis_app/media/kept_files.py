"""Which attached files there are, whose, and how many bytes they take with those that are on their way; and whose goes
where that is too much.

Knows holders, sizes and the order in which files came. Refuses to know the disk: what is taken off this list is removed
by whoever keeps it. What reads and changes it holds its lock.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ovis_app.conversation import MediaKind


@dataclass
class Kept:
    """One file. `holder` is empty until somebody uses it, `by` says who brought it as far as that is known."""

    path: Path
    name: str
    by: str
    size: int
    came: float
    holder: str = ""
    shown: dict[MediaKind, Path] = field(default_factory=dict)  # the copies that people see, by their kinds
    kind: MediaKind | None = None  # None for what can't be attached
    making: threading.Lock = field(default_factory=threading.Lock)

    @property
    def whose(self) -> str:
        """Who brought it where that is known, whatever sessions they name; else whose it is."""
        return self.by or self.holder


class KeptFiles:
    """The list of them."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.coming: Counter[str] = Counter()  # bytes on their way, by who sends them
        self._kept: dict[Path, Kept] = {}  # by folder, the oldest first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Of all of them, what is on its way included."""
        return self._bytes + self.coming.total()

    def all(self) -> list[Kept]:
        """The oldest first."""
        return list(self._kept.values())

    def beside(self, path: Path) -> Kept | None:
        """The file in whose folder this path lies."""
        return self._kept.get(path.parent)

    def at(self, path: Path) -> Kept | None:
        """The file that lies at this very path."""
        found = self.beside(path)
        return found if found is not None and found.path == path else None

    def twins(self, path: Path) -> Iterable[Kept]:
        """The others with the same content, which their names tell."""
        return (one for one in self._kept.values() if one.path.name == path.name and one.path != path)

    def add(self, one: Kept) -> None:
        self._kept[one.path.parent] = one
        self._bytes += one.size

    def drop(self, one: Kept) -> None:
        self._bytes -= self._kept.pop(one.path.parent).size

    def grow(self, one: Kept, size: int) -> None:
        """A file takes so much more."""
        one.size += size
        if one.path.parent in self._kept:
            self._bytes += size

    def clear(self) -> None:
        self._kept.clear()
        self._bytes = 0

    def gone(self, size: int, by: str) -> None:
        """So many bytes are no longer on their way."""
        self.coming[by] -= size
        self.coming += Counter()  # drops those that are 0

    def spare(self, by: str, size: int | None, busy: Collection[str]) -> Kept | None:
        """What goes for the `size` bytes that `by` sends, or for one more file: the oldest of whoever has most that no
        answer is reading. None where nobody has anything to spare that has as much as `by`."""
        held = Counter() if size is None else self.coming + Counter({by: size})
        oldest: dict[str, Kept] = {}
        for one in self._kept.values():
            held[one.whose] += 1 if size is None else one.size
            if one.holder not in busy:
                oldest.setdefault(one.whose, one)
        for whose, _ in held.most_common():
            if whose in oldest:
                return oldest[whose]
            if whose == by:
                break
        return None
