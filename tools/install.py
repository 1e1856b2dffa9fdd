"""Fills an environment with what locks name: made where there is none, mended where an earlier try was killed.

    python tools/install.py .venv requirements.lock

Beside that comes this project itself, as it lies here. What is there in the version that a lock names is kept: a build
of torch for this processor or that GPU. Knows venv and pip, on the standard library alone. Refuses to choose versions.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
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
    """The environment's Python. One without a pip gets it; what doesn't run at all is made again."""
    python, pip = folder / "bin" / "python", ("-m", "pip", "--version")
    runs = python.exists() and _runs(python, "--version")
    if not (runs and (_runs(python, *pip) or (_runs(python, "-m", "ensurepip") and _runs(python, *pip)))):
        venv.create(folder, clear=True, symlinks=True, with_pip=True)
    return python


def _runs(python: Path, *words: str) -> bool:
    return subprocess.run([python, *words], capture_output=True, check=False).returncode == 0


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


def install(folder: Path, lock: Path, *, project: bool) -> int:
    """Installs what the lock names, and this `project`. Returns the exit code."""
    python, mark = make(folder), folder / UNFINISHED
    if mark.exists() and (forgotten := mend(folder)):
        print(f"An earlier try was ended in the middle; once more: {', '.join(forgotten)}.")
    print(f"Installing what {lock} names into {folder}; the first time takes a few minutes.", flush=True)
    mark.touch()
    wanted = [["-r", str(lock)]]
    if project:
        wanted.append(["--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
    for what in wanted:
        code, offline = run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what])
        if code:
            print(OFFLINE.format(lock=lock) if offline else FAILED, file=sys.stderr)
            return code
    mark.unlink()
    return 0


def run(command: Sequence[str]) -> tuple[int, bool]:
    """A pip command's exit code, and whether it failed for want of a network: about that it would say a page."""
    unreachable, missing = False, []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if any(word in line for word in UNREACHABLE):
                unreachable = True
            elif any(word in line for word in MISSING):
                missing.append(line)
            else:
                print(line, end="", file=sys.stderr)
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
