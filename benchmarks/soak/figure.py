"""One figure of docs/reliability.md as it was measured: what is wanted and what was found. Knows no servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.report import table


@dataclass(frozen=True)
class Figure:
    """`met` is None where it couldn't be measured here, and `found` says why. `log` is the file with what the server
    wrote, where it is kept."""

    name: str
    what: str
    target: str
    found: str
    met: bool | None
    log: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def told(figures: Sequence[Figure]) -> str:
    """All of them as a Markdown table, and below it where the logs of those are that were missed."""
    words = {True: "yes", False: "**no**", None: "skipped"}
    rows = [(one.name, one.what, one.target, one.found, words[one.met]) for one in figures]
    logs = [f"\n\n{one.name}: the server's log is {one.log}" for one in figures if one.log]
    return table(("figure", "what", "target", "measured", "met"), rows) + "".join(logs)


def sentences(failed: Iterable[str]) -> str:
    """What went wrong, each sentence once and how often; empty where nothing did."""
    return "; ".join(f"{often} x {one}" for one, often in Counter(one for one in failed if one).most_common())
