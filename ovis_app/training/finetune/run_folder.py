"""The folder of a run: what it was begun with, its log, its checkpoints, and what came out of it.

Knows files, and which of them are whole. Refuses to know models.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ovis_app.errors import BackendError, DataError
from ovis_app.named_files import printable
from ovis_app.private_folder import held
from ovis_app.training.finetune.plan import Plan

RUN_FILE = "run.json"  # what it was begun with
LOG_FILE, PLOT_FILE = "log.jsonl", "loss.png"
ADAPTER, MERGED, LEARNT = "adapter", "merged", ".learnt.safetensors"
STATE_FILE = "trainer_state.json"  # a checkpoint's last file
CHECKPOINT = re.compile(r"checkpoint-(\d+)")
MOST_STEPS = 2**53
PACKAGES = ("ovis-app", "torch", "transformers", "peft", "accelerate", "bitsandbytes")

HOLDS_RUN = "{out} holds a run: add --resume to go on with it, or name another --out."
TAKEN = "Another process trains in {out} now: wait until it ends, or name another --out."
LINK = "{out} holds {name}, which is a link or no plain file, so what is written there would go elsewhere: remove it."
NO_FOLDER = "{out} can't be written: check its permissions and the disk, or name another --out."

Record = Mapping[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """A run's folder by its path."""

    path: Path

    @contextmanager
    def taken(self, plan: Plan) -> Iterator[None]:
        """The folder for this process alone while the block runs: begun, or ready to go on. Raises BackendError where
        another process has it, or began a run there meanwhile, and OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        with held(self.path) as alone:
            if not alone:
                raise BackendError(TAKEN.format(out=self.path.name))
            if plan.resume:
                self.clean()
            elif (self.path / RUN_FILE).exists():
                raise BackendError(HOLDS_RUN.format(out=self.path.name))
            else:
                self._begin(plan)
            yield

    def _begin(self, plan: Plan) -> None:
        """Writes what the run was begun with."""
        facts = {
            **plan.facts,
            "revision": _revision(plan.checkpoint.folder),
            "versions": {"python": platform.python_version(), **dict(_versions())},
        }
        _replace(self.path / RUN_FILE, json.dumps(facts, indent=1) + "\n")

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Steps and folders of those that were written to their end, in order."""
        return [(step, folder) for step, folder in self._all() if _whole(folder)]

    def newest(self) -> Path | None:
        """The checkpoint from which it can go on."""
        whole = self.checkpoints()
        return whole[-1][1] if whole else None

    def clean(self) -> None:
        """Removes checkpoints that were never written to their end."""
        for _, folder in self._all():
            if not _whole(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def _all(self) -> list[tuple[int, Path]]:
        found = [(CHECKPOINT.fullmatch(folder.name), folder) for folder in self.path.glob("checkpoint-*")]
        return sorted((int(match[1]), folder) for match, folder in found if match and folder.is_dir())

    def records(self) -> list[Record]:
        """The lines of the log, without one that was never written to its end."""
        file = self.path / LOG_FILE
        return list(_records(file.read_text(encoding="utf-8", errors="replace"))) if file.is_file() else []

    @property
    def steps(self) -> int:
        """Of the last line of the log."""
        return max((record["step"] for record in self.records()), default=0)

    def record(self, values: Record) -> None:
        """Adds a line to the log."""
        with (self.path / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(values, ensure_ascii=False) + "\n")

    def go_on_behind(self, step: int) -> None:
        """Forgets what was logged behind a step: it will be done again."""
        kept = [json.dumps(record, ensure_ascii=False) + "\n" for record in self.records() if record["step"] <= step]
        _replace(self.path / LOG_FILE, "".join(kept))


def check_new(out: Path) -> None:
    """Raises DataError unless a run can begin in the folder."""
    try:
        if out.exists() and not out.is_dir():
            raise DataError(f"--out {out.name} is a file: name a folder.")
        if (out / RUN_FILE).exists():
            raise DataError(HOLDS_RUN.format(out=out.name))
        if out.exists() and any(not _never_begun(file) for file in out.iterdir()):
            raise DataError(f"{out.name} holds other files: name a new folder with --out.")
        above = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
        leads_nowhere = out.is_symlink() and not out.exists()
        if not above.is_dir() or not os.access(above, os.W_OK) or leads_nowhere:
            raise PermissionError
    except OSError as error:
        raise DataError(NO_FOLDER.format(out=printable(out.name))) from error


def check_same(plan: Plan) -> None:
    """Raises DataError unless the plan's folder holds a run that was begun as the plan says, in plain files."""
    name = plan.out.name
    _check_plain(plan.out)
    try:
        before = json.loads((plan.out / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"There is no run to resume in {name}: leave --resume out.") from error
    differ = [key for key, value in plan.facts.items() if not isinstance(before, dict) or before.get(key) != value]
    if differ:
        raise DataError(
            f"The run in {name} was begun with other {' and '.join(differ)}: call it as it was begun, or name another "
            "--out and leave --resume out."
        )


def _check_plain(out: Path) -> None:
    """Raises DataError where something lies in a folder that leads elsewhere, or may wait for ever."""
    for above, folders, files in os.walk(out):
        for name in (*folders, *files):
            with suppress(OSError):  # it went meanwhile
                mode = Path(above, name).lstat().st_mode
                if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                    raise DataError(LINK.format(out=out.name, name=printable(name)))


def _whole(folder: Path) -> bool:
    try:
        return isinstance(json.loads((folder / STATE_FILE).read_text(encoding="utf-8")), dict)
    except (OSError, ValueError, RecursionError):
        return False


def _records(text: str) -> Iterator[Record]:
    for line in text.split("\n"):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):  # the writer was killed
            continue
        if isinstance(found, dict) and type(found.get("step")) is int and 0 <= found["step"] < MOST_STEPS:
            yield found


def _never_begun(file: Path) -> bool:
    """Whether that is what a run left that was killed as it began, before it had written what with."""
    return file.name == _partial(file.with_name(RUN_FILE)).name and file.is_file() and not file.is_symlink()


def _partial(file: Path) -> Path:
    return file.with_name(f".{file.name}.partial")


def _replace(file: Path, text: str) -> None:
    partial = _partial(file)
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def _revision(folder: Path) -> str:
    """The commit that a folder of the hub's cache is named by."""
    return folder.name if folder.parent.name == "snapshots" else ""


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
