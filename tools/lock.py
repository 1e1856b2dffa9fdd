"""Writes down which versions belong together: `python -m tools.lock`, `latest` or `lowest` for a trial of others, and
`remote` for one without a model in its own process; `audit` for what asks about vulnerabilities.

pyproject.toml is the home of every bound. From it come requirements.txt (what a Space reads), requirements-remote.txt
(the same without what a model in this process needs), requirements.lock and requirements-dev.lock (one exact version of
each package, for every platform and Python), and what the environments of the trials hold. Knows uv; refuses to install
anything.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).with_name("uv")
WRITTEN = "# Written by `make lock` from pyproject.toml: bounds and their reasons stand there."
# What torch brings for one kind of GPU or another. Pip fetches that with torch, where it fetches torch at all; only the
# tests' Triton, a group of its own, is wanted without one.
OF_A_GPU = re.compile(r"(nvidia|cuda|triton)[-=]")
CUT_OFF = ("error sending request", "network was disabled")  # what uv says where it gets no answer

UNRESOLVED = "make lock: these bounds can't be resolved; what uv says about it stands above."
OFFLINE = "The package index can't be reached, so no versions were looked up. Try again where it can."


@dataclass(frozen=True)
class Project:
    """The bounds of pyproject.toml."""

    light: tuple[str, ...]  # what the page needs, and a server in place of a model
    everything: tuple[str, ...]  # and the model in this process
    training: tuple[str, ...]  # what fine-tuning needs beside that
    dev: tuple[str, ...]
    kept: frozenset[str]  # packages whose upper bound a trial of the latest keeps

    @classmethod
    def read(cls, file: Path = ROOT / "pyproject.toml") -> Project:
        said = tomllib.loads(file.read_text("utf-8"))
        project, groups = said["project"], said["dependency-groups"]
        light = sorted(project["dependencies"])
        extras = project["optional-dependencies"]
        everything = sorted((*light, *extras["local"]))
        training = [row for row in extras["finetune"] if not row.startswith(project["name"])]
        dev = [row for name in ("build", "dev", "kernels") for row in groups[name] if isinstance(row, str)]
        kept = frozenset(said["tool"]["ovis"]["kept-bounds"])
        return cls(tuple(light), tuple(everything), tuple(training), tuple(dev), kept)

    @property
    def torch(self) -> list[str]:
        """The torch that was tried last with each Python. Left alone, uv takes one that suits them all."""
        return [highest(row) for row in map(Requirement, self.everything) if row.name == "torch"]

    def latest(self) -> list[str]:
        """The requirements without upper bounds, but for those that are kept with a reason."""
        rows = map(Requirement, (*self.everything, *self.dev))
        return [str(row if canonicalize_name(row.name) in self.kept else unbounded(row)) for row in rows]


def highest(row: Requirement) -> str:
    """Exactly the version that is its upper bound."""
    version = next(bound.version for bound in row.specifier if bound.operator == "<=")
    return f"{row.name}=={version} ; {row.marker}"


def unbounded(row: Requirement) -> Requirement:
    """The same with its lower bound alone."""
    row = Requirement(str(row))
    row.specifier = SpecifierSet(",".join(str(bound) for bound in row.specifier if bound.operator == ">="))
    return row


def resolved(wanted: Sequence[str], *, within: Iterable[str] = (), known: Path | None = None) -> str:
    """The exact versions that uv finds for what is `wanted`, those of the file `known` where they still do. Raises
    CalledProcessError; uv has said why on stderr."""
    with tempfile.TemporaryDirectory() as folder:
        constraints, out = Path(folder, "constraints.txt"), Path(folder, "out.txt")
        constraints.write_text("\n".join(within), "utf-8")
        if known is not None and known.exists():
            out.write_text(known.read_text("utf-8").replace("-r ", "# "), "utf-8")
        how = ("--quiet", "--no-header", "--no-annotate", "--constraints", constraints, "-o", out)
        done = subprocess.run([UV, "pip", "compile", *wanted, *how], stderr=subprocess.PIPE, text=True, cwd=ROOT)
        print(done.stderr, end="", file=sys.stderr)
        done.check_returncode()
        return out.read_text("utf-8")


def everywhere(found: str) -> list[str]:
    """What of it holds on every machine: torch stands in it as a version, what it brings for a GPU doesn't."""
    return [line for line in found.splitlines() if not OF_A_GPU.match(line)]


def lock(*, upgrade: bool) -> None:
    """Writes requirements.txt and both locks. What still suits the bounds stays, unless an `upgrade` is asked for."""
    project = Project.read()
    write(ROOT / "requirements.txt", project.everything)
    write(ROOT / "requirements-remote.txt", project.light)
    run, dev = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
    wanted = ("pyproject.toml", "--extra", "local", "--group", "build", "--universal")
    found = everywhere(resolved(wanted, within=project.torch, known=None if upgrade else run))
    write(run, found)
    known = None if upgrade else dev
    more = everywhere(resolved(("--group", "dev", "--universal"), within=found, known=known))
    kernels = resolved(("--group", "kernels", "--universal"), within=found, known=known).splitlines()
    write(
        dev, [f"-r {run.name}", *(line for line in (*more, *kernels) if not {line, line.partition(" ;")[0]} & {*found})]
    )


def write(file: Path, rows: Iterable[str]) -> None:
    file.write_text("\n".join((WRITTEN, *rows, "")), "utf-8")


def remote(out: Path) -> None:
    """Writes what of the locks is needed where a server answers, and for its tests."""
    locks = [line for name in ("requirements.lock", "requirements-dev.lock") for line in pins(ROOT / name)]
    write(out, resolved(("requirements-remote.txt", "--group", "dev"), within=locks).splitlines())


def pins(lock: Path) -> list[str]:
    return [line for line in lock.read_text("utf-8").splitlines() if not line.startswith(("#", "-"))]


def trial(which: str, out: Path) -> None:
    """Writes the latest versions, or the lowest, for this Python. Torch is what the lock names for it: builds for a
    processor alone are had for some versions only."""
    project = Project.read()
    if which == "lowest":
        found = resolved(("pyproject.toml", "--extra", "local", "--group", "dev", "--resolution", "lowest-direct"))
        lowest = next(line for line in found.splitlines() if line.startswith("torch=="))
        print(f"The lowest versions fit together with {lowest}; the suite runs them with the torch of the lock.")
    else:
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as wanted:
            wanted.write("\n".join(project.latest()))
            wanted.flush()
            found = resolved((wanted.name,), within=project.torch)
    write(out, [*(row for row in everywhere(found) if not row.startswith("torch==")), *project.torch])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.lock", description="Write down versions, with uv.")
    parser.add_argument("what", nargs="?", choices=("lock", "latest", "lowest", "remote", "audit"), default="lock")
    parser.add_argument("--upgrade", action="store_true", help="take the newest within the bounds")
    parser.add_argument("--out", type=Path, help="where the versions of a trial go")
    given = parser.parse_args()
    try:
        if given.what == "lock":
            lock(upgrade=given.upgrade)
        elif given.what == "audit":
            write(given.out, resolved(("--group", "audit")).splitlines())
        elif given.what == "remote":
            remote(given.out)
        else:
            trial(given.what, given.out)
    except subprocess.CalledProcessError as error:
        print(OFFLINE if any(word in error.stderr for word in CUT_OFF) else UNRESOLVED, file=sys.stderr)
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
