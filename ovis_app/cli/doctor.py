"""`ovis doctor [MODEL]`: whether a checkpoint is what the app expects and does what was planned, a line each.

A line is printed as soon as it is known. Parses flags before it imports anything heavy.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from ovis_app import settings as settings_module
from ovis_app.cli.common import MACHINE, program, settings_of
from ovis_app.settings import Flags, Settings

if TYPE_CHECKING:
    from ovis_app.doctor.finding import Finding

ABOUT = """Holds a checkpoint against what is known of its kind, then loads it and holds what it does against what was
planned: within three minutes, once its files are here. Nothing is sent anywhere."""


def run(words: Sequence[str]) -> int:
    flags = Flags(prog=f"{program()} doctor", description=ABOUT)
    flags.add_argument("named", nargs="?", metavar="MODEL", help="a known name, a repository or a folder")
    flags.add_argument("--quick", action="store_true", help="look at the files alone; no weights are read")
    flags.add_argument("--json", action="store_true", help="print JSON for a report, without names, paths and prompts")
    settings_module.add_arguments(flags, ("model", "adapter", *MACHINE))
    given = flags.parse_args(words)
    settings = settings_of(given)
    settings = settings if given.named is None else replace(settings, model=given.named)
    from ovis_app.backends import require_local

    require_local()
    return _examine(settings, quick=given.quick, as_json=given.json)


def _examine(settings: Settings, *, quick: bool, as_json: bool) -> int:
    from ovis_app import zoo
    from ovis_app.doctor.examination import examined
    from ovis_app.doctor.finding import as_json as written
    from ovis_app.doctor.finding import summary
    from ovis_app.doctor.told import facts, private

    spec = zoo.adapted(settings.model, settings.adapter)
    if not as_json:
        print(f"{spec.name}\n")
    with closing(examined(spec, settings, quick=quick, progress=_progress)) as findings:  # type: ignore[type-var]
        found = list(findings if as_json else _printed(findings))
    print(written(found, private=private(spec, settings), **facts(spec)) if as_json else f"\n{summary(found)}.")
    return int(any(one.verdict == "failed" for one in found))


def _printed(findings: Iterator[Finding]) -> Iterator[Finding]:
    from ovis_app.doctor.finding import lines

    for one in findings:
        _progress("", None)
        print("\n".join(lines(one)), flush=True)
        yield one


def _progress(words: str, share: float | None) -> None:
    """On a terminal what is going on, in a line that goes again."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{words[:100]}", end="", file=sys.stderr, flush=True)
