"""Fills an environment with what locks name: made where there is none, mended where an earlier try was killed.

    python tools/install.py .venv requirements.lock

Beside that comes this project itself, as it lies here. What is there in the version that a lock names is kept: a build
of torch for this processor or that GPU. Of what is done it says a line a package, and nothing where there is nothing to
do. Knows venv and pip, on the standard library alone. Refuses to choose versions.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNFINISHED = ".unfinished"  # lies in an environment while something is installed into it
# What pip says of an index that it doesn't reach, and then of a package that it therefore doesn't find.
UNREACHABLE = (
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ProxyError",
    "Network is unreachable",
)
MISSING = ("Could not find a version", "No matching distribution")
OFFLINE = (
    "The package index can't be reached. Where it can, run `pip download -r {lock} -d wheels`; then here "
    "`PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels make install`."
)
BEGINS = "Installing what {lock} names into {folder}; the first time takes a few minutes."
# As pip says that it takes one: of how many bytes, or for whose sake.
WHEEL = re.compile(
    r"\s*(?:Downloading|Using cached|Processing) (?:\S*/)?([^/\s]+)\.whl(?: (\(\d[^)]*\)))?(?: \(from .*)?$"
)
FOUND_STEP = 25  # packages between two lines about looking for them
LOOK_SECONDS = 5.0  # between two looks at what is unpacked, which pip doesn't tell
FAILED = "The packages couldn't be installed; what pip says about it stands above. `make install` goes on from here."


def untried(version: tuple[int, int]) -> str:
    """What is to be said of a Python that is newer than those that were tried; nothing of the others."""
    said = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["classifiers"]
    tried = [tuple(map(int, line.rpartition(" ")[2].split("."))) for line in said if line.startswith("Programming")]
    if version <= max(tried):
        return ""
    first, last = (".".join(map(str, end)) for end in (min(tried), max(tried)))
    return f"Python {version[0]}.{version[1]} is untried; {first} to {last} are what this was made with."


def make(folder: Path) -> Path:
    """The environment's Python. One without a pip gets it; where that doesn't help, all is made again."""
    python = folder / "bin" / "python"
    if not _has_pip(python) and not (_runs(python, "-m", "ensurepip") and _has_pip(python)):
        venv.create(folder, clear=True, symlinks=True, with_pip=True)
    return python


def _has_pip(python: Path) -> bool:
    return _runs(python, "-m", "pip", "--version")


def _runs(python: Path, *words: str) -> bool:
    return python.exists() and subprocess.run([python, *words], capture_output=True, check=False).returncode == 0


def mend(folder: Path) -> list[str]:
    """Makes pip forget what it has installed by half, so that it installs that again. Returns the names."""
    forgotten = []
    for place in folder.glob("lib/python*/site-packages"):
        for left in place.glob("~*"):  # what pip had put aside to replace it
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        for record in place.glob("*.dist-info"):
            if not whole(record):
                shutil.rmtree(record)
                forgotten.append(record.name.partition("-")[0])
    return forgotten


def whole(record: Path) -> bool:
    """Whether everything that a package brought is there in its full size."""
    try:
        with (record / "RECORD").open(newline="", encoding="utf-8") as file:
            sizes = {row[0]: row[2] for row in csv.reader(file)}
        # Pip's own name stands in the list that it writes last, but not in the one that a package brings.
        return f"{record.name}/INSTALLER" in sizes and all(_sized(record.parent / name, sizes[name]) for name in sizes)
    except (OSError, IndexError, UnicodeDecodeError):
        return False


def _sized(file: Path, size: str) -> bool:
    return file.stat().st_size == int(size) if size else file.exists() or file.suffix == ".pyc"


class Progress:
    """What pip says of itself, as lines for people. Of packages that are there it says nothing."""

    def __init__(self, folder: Path, lock: Path) -> None:
        self._folder, self._lock = folder, lock
        self._wanted = sum(line[:1].isalnum() for line in lock.read_text("utf-8").splitlines())
        self._found = self._fetched = 0

    def hear(self, line: str) -> None:
        """A line of pip's, which first looks for all packages, then fetches those that it hasn't at hand."""
        if line.startswith(("Requirement already satisfied:", "Ignoring ")):
            self._wanted -= 1
        elif line.startswith(("Collecting ", "Processing ")):
            if self._found == 0:
                _say(BEGINS.format(lock=self._lock, folder=self._folder))
            self._found += 1
            if self._found % FOUND_STEP == 0:
                _say(f"{self._found} of {max(self._wanted, self._found)} found")
        if wheel := WHEEL.match(line):
            self._fetched += 1
            name, _, rest = wheel[1].partition("-")
            size = f" {wheel[2]}" if wheel[2] else ""
            _say(f"{self._fetched} of {max(self._wanted, self._fetched)}: {name} {rest.partition('-')[0]}{size}")

    @contextmanager
    def unpacking(self, line: str) -> Iterator[None]:
        """While the block runs, what is unpacked of the packages that pip says to install is counted."""
        count, before, over = line.count(",") + 1, self._unpacked(), threading.Event()

        def look() -> None:
            said = 0
            while not over.wait(LOOK_SECONDS):
                now = len(self._unpacked() - before)
                if now != said:
                    said = now
                    _say(f"{min(now, count)} of {count} installed")

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        try:
            yield
        finally:
            over.set()
            looking.join()

    def _unpacked(self) -> set[str]:
        return {record.name for record in self._folder.glob("lib/python*/site-packages/*.dist-info")}


def _say(line: str) -> None:
    print(line, flush=True)


def install(folder: Path, lock: Path, *, project: bool) -> int:
    """Installs what the lock names, and this `project`. Returns the exit code."""
    python, mark = make(folder), folder / UNFINISHED
    if mark.exists() and (forgotten := mend(folder)):
        _say(f"An earlier try was ended in the middle; once more: {', '.join(forgotten)}.")
    mark.touch()
    pip, progress = [str(python), "-m", "pip", "install", "--disable-pip-version-check"], Progress(folder, lock)
    code, offline = run([*pip, "--progress-bar", "off", "-r", str(lock)], progress)
    if project and not code:
        code, offline = run([*pip, "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
    if code:
        print(OFFLINE.format(lock=lock) if offline else FAILED, file=sys.stderr)
        return code
    mark.unlink(missing_ok=True)  # another one beside this may be done already
    return 0


def run(command: Sequence[str], progress: Progress | None = None) -> tuple[int, bool]:
    """A pip command's exit code, and whether it failed for want of a network: about that it would say a page."""
    unreachable, missing = False, list[str]()

    def complain() -> None:
        nonlocal unreachable
        for line in process.stderr or ():
            if any(word in line for word in UNREACHABLE):
                unreachable = True
            elif any(word in line for word in MISSING):
                missing.append(line)
            else:
                print(line, end="", file=sys.stderr)

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        complaining = threading.Thread(target=complain)
        complaining.start()
        said = iter(process.stdout or ())
        for line in said:
            if progress is not None and line.startswith("Installing collected packages:"):
                with progress.unpacking(line):
                    for _ in said:  # to its end
                        pass
            elif progress is not None:
                progress.hear(line)
        complaining.join()
    offline = unreachable and bool(missing)
    if not offline:
        print(*missing, sep="", end="", file=sys.stderr)
    return process.returncode, offline


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/install.py", description="Fill an environment with what a lock names.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--bare", action="store_true", help="without this project itself")
    given = parser.parse_args()
    if remark := untried(sys.version_info[:2]):
        print(remark)
    return install(given.folder, given.lock, project=not given.bare)


if __name__ == "__main__":
    sys.exit(main())
