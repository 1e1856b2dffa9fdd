"""What a check found, as a value; all of them as a table for people, or as JSON that tells nothing of who ran them.

Knows words; refuses to know checkpoints, models and devices.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

Verdict = Literal["ok", "differs", "not judged", "failed"]

MARKS: dict[Verdict, str] = {"ok": "ok", "differs": "DIFFERS", "not judged": "-", "failed": "FAILED"}
WRONG: dict[Verdict, str] = {"differs": "not", "failed": "failed"}  # in a sum of all lines
LONGEST = 300  # characters of what a line says: some of it is written by strangers
REPORT = "report this table (--json), with where the checkpoint is from"


@dataclass(frozen=True)
class Finding:
    """A line of the table. `does` is what the app does now, `report` what whoever reads it should tell; both stand only
    where something isn't as expected. `quoted` are words out of prompts, which no report has."""

    name: str
    verdict: Verdict
    found: str
    expected: str = ""
    does: str = ""
    report: str = ""
    quoted: str = ""

    @property
    def warns(self) -> bool:
        return self.verdict in ("differs", "failed")


def judged(name: str, found: str, expected: str, *, same: bool, does: str, report: str = REPORT) -> Finding:
    """Found as expected, or what follows where not."""
    return Finding(name, "ok", found) if same else Finding(name, "differs", found, expected, does, report)


def not_judged(name: str, why: str) -> Finding:
    return Finding(name, "not judged", why)


def plain(text: str) -> str:
    """Words that a terminal shows and doesn't obey, in one line."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def lines(finding: Finding) -> list[str]:
    """A finding as lines of the table."""
    found = f"{finding.found}: {finding.quoted}" if finding.quoted else finding.found
    first = f"{MARKS[finding.verdict]:8}{finding.name:20}{plain(found)}"
    more = (("expected", finding.expected), ("the app", finding.does), ("please", finding.report))
    return [first, *(f"{'':8}{'':20}{word}: {plain(text)}" for word, text in more if text)]


def summary(findings: Iterable[Finding]) -> str:
    """ "14 as expected, 2 not (resize filter, speed), 1 couldn't be judged"."""
    found = list(findings)
    count = Counter(one.verdict for one in found)
    said = [f"{count['ok']} as expected"]
    for verdict, word in WRONG.items():
        names = ", ".join(one.name for one in found if one.verdict == verdict)
        said += [f"{count[verdict]} {word} ({names})"] if names else []
    return ", ".join([*said, *([f"{count['not judged']} couldn't be judged"] if count["not judged"] else [])])


def as_json(findings: Sequence[Finding], *, private: Sequence[str], **facts: object) -> str:
    """For a report of a bug, with what stands beside it. `private` are names and paths, which become "the model"."""
    told = [without(one, private) for one in findings]
    rows = [{name: text for name, text in asdict(one).items() if name != "quoted"} for one in told]
    return json.dumps({**facts, "findings": rows, "summary": summary(told)}, indent=1)


def without(finding: Finding, private: Sequence[str]) -> Finding:
    """A finding that tells no name, no path and no words out of prompts."""

    def told(text: str) -> str:
        for word in sorted(filter(None, private), key=len, reverse=True):
            text = text.replace(word, "the model")
        return plain(text)

    # What to report is ours alone.
    return replace(
        finding, found=told(finding.found), expected=told(finding.expected), does=told(finding.does), quoted=""
    )  # fmt: skip
