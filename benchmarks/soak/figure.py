"""One figure of docs/reliability.md as it was measured: what is wanted and what was found. Knows no servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.report import table


@dataclass(frozen=True)
class Figure:
    """`met` is None where it couldn't be measured here, and `found` says why."""

    name: str
    what: str
    target: str
    found: str
    met: bool | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def told(figures: Sequence[Figure]) -> str:
    """All of them as a Markdown table."""
    words = {True: "yes", False: "**no**", None: "skipped"}
    rows = [(one.name, one.what, one.target, one.found, words[one.met]) for one in figures]
    return table(("figure", "what", "target", "measured", "met"), rows)
