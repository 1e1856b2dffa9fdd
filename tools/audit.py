"""Asks whether what requirements.lock names has known vulnerabilities, with pip-audit:

    python -m tools.audit .venv-audit/bin/pip-audit

It ends with

    0  nothing is known of any of the versions
    1  something is, of one at least
    3  the database wasn't reached, or doesn't have some of the versions: they may be anything
    4  pip-audit failed otherwise

`make audit` makes that environment where it isn't there, and ends with 0 or, whatever it was, with 2, as make does.
Every version of the lock is asked about, whatever machine it is for. What is known and doesn't matter here stands in
pyproject.toml, `[tool.ovis.known-vulnerabilities]`, with the reason. Refuses to say that all is well of what nobody
could look up, which pip-audit does: what its database doesn't have it skips.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.install import ROOT, UNREACHABLE
from tools.lock import pins

LOCK = ROOT / "requirements.lock"
OPTIONS = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--desc", "off", "--format", "json")
CLEAN, FOUND, UNKNOWN, BROKEN = 0, 1, 3, 4
CUT_OFF = (*UNREACHABLE, "Could not connect", "ConnectionError", "ReadTimeout", "SSLError")

WELL = "No vulnerability is known of the {count} versions in {lock}."
FAILED = "pip-audit failed; what it says of that stands above."
NO_DATABASE = "The database of vulnerabilities can't be reached, so nothing is known of the {count} versions in {lock}."
NOT_THERE = "The database of vulnerabilities doesn't have {missing} of the {count} versions in {lock}: {names}."
GONE = "{name} is no longer found: take it out of pyproject.toml."
RAISE = "Take a version that isn't concerned (`make lock`), or say in pyproject.toml why it doesn't matter here."


class Unreachable(Exception):
    """pip-audit got no answer."""


@dataclass(frozen=True)
class Known:
    """A vulnerability of a version; `ids` are all of its names."""

    package: str
    ids: tuple[str, ...]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        mended = f"mended in {', '.join(self.fixed)}" if self.fixed else "not mended yet"
        return f"{self.package}: {', '.join(self.ids)}, {mended}"


@dataclass(frozen=True)
class Answer:
    """What the database says of some versions."""

    known: tuple[Known, ...] = ()
    missing: tuple[str, ...] = ()  # packages that it doesn't have

    def __add__(self, other: Answer) -> Answer:
        return Answer(self.known + other.known, self.missing + other.missing)


def rounds(lock: Path) -> list[list[str]]:
    """The lock's versions without the machines that they are for, each package once a round: pip-audit would leave out
    what is for others, and takes no two versions of one."""
    found: list[dict[str, str]] = []
    for pin in pins(lock):
        version = pin.partition(" ;")[0].strip()
        name = version.partition("==")[0]
        free = next((one for one in found if name not in one), None)
        if free is None:
            found.append(free := {})
        free[name] = version
    return [list(one.values()) for one in found]


def ask(tool: Sequence[str], versions: Sequence[str]) -> Answer:
    """What pip-audit says of them. Raises Unreachable, and CalledProcessError where it failed otherwise."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as wanted:
        wanted.write("\n".join(versions))
        wanted.flush()
        done = subprocess.run([*tool, *OPTIONS, "-r", wanted.name], capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError) as error:
        if any(word in done.stderr for word in CUT_OFF):
            raise Unreachable from error
        raise subprocess.CalledProcessError(done.returncode, tool, done.stdout, done.stderr) from error
    known = [_known(package, one) for package in packages for one in package.get("vulns", ())]
    judged = {package["name"] for package in packages if "skip_reason" not in package}
    missing = [version for version in versions if version.partition("==")[0] not in judged]
    return Answer(tuple(known), tuple(missing))


def _known(package: Mapping[str, Any], one: Mapping[str, Any]) -> Known:
    ids = (one["id"], *one.get("aliases", ()))
    return Known(f"{package['name']} {package['version']}", tuple(ids), tuple(one.get("fix_versions", ())))


def reasons(file: Path = ROOT / "pyproject.toml") -> dict[str, str]:
    """What is known and doesn't matter here, by an id of it, and why."""
    found: dict[str, str] = tomllib.loads(file.read_text("utf-8"))["tool"]["ovis"]["known-vulnerabilities"]
    return found


def told(answer: Answer, lock: Path, excused: Mapping[str, str]) -> tuple[int, list[str]]:
    """The exit code, and the lines for people."""
    count = len(pins(lock))
    serious = [one for one in answer.known if not {*one.ids} & excused.keys()]
    lines = [f"{one}: {excused[name]}" for one in answer.known for name in sorted({*one.ids} & excused.keys())]
    lines += map(str, serious)
    ids = {name for one in answer.known for name in one.ids}
    if len(answer.missing) == count:
        return UNKNOWN, [NO_DATABASE.format(count=count, lock=lock.name)]
    if not answer.missing:
        lines += [GONE.format(name=name) for name in sorted(excused.keys() - ids)]
    else:
        names = ", ".join(answer.missing)
        lines.append(NOT_THERE.format(missing=len(answer.missing), count=count, lock=lock.name, names=names))
    if serious:
        return FOUND, [*lines, RAISE]
    return (UNKNOWN, lines) if answer.missing else (CLEAN, [*lines, WELL.format(count=count, lock=lock.name)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description="Look for known vulnerabilities.")
    parser.add_argument("tool", nargs="+", help="the command that is pip-audit, and options of its own behind --")
    parser.add_argument("--lock", type=Path, default=LOCK)
    given = parser.parse_args()
    try:
        answers = [ask(given.tool, versions) for versions in rounds(given.lock)]
    except Unreachable:
        print(NO_DATABASE.format(count=len(pins(given.lock)), lock=given.lock.name), file=sys.stderr)
        return UNKNOWN
    except subprocess.CalledProcessError as error:
        print(error.stderr, FAILED, sep="\n", file=sys.stderr)
        return BROKEN
    code, lines = told(sum(answers, Answer()), given.lock, reasons())
    print(*lines, sep="\n", file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
