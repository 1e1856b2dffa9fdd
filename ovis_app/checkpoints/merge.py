"""One folder of a base model and an adapter: the same files, names, types and shards, and other values in some weights.

The base's files are copied byte by byte, and the values that change are written over them; so whatever loads the base
loads this. The folder is there under its name once all of it is on the disk. Refuses to know command lines.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from ovis_app.checkpoints.adapter import Adapter
from ovis_app.checkpoints.checkpoint import Goal, check_shapes, damage_as_sentences, goals_of, read_headers
from ovis_app.checkpoints.checksums import SUMS
from ovis_app.checkpoints.safetensors import Reader
from ovis_app.errors import AdapterError, BackendError, visible
from ovis_app.models.config import OvisConfig, called
from ovis_app.models.ovis import Ovis
from ovis_app.private_folder import made_whole
from ovis_app.zoo import ModelSpec

PIECE = 8 * 2**20  # bytes that are copied at a time
# Other formats of weights: left out, since they would hold the base's.
WEIGHTS = frozenset([".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx"])

TAKEN = "{out} isn't an empty folder: name another one with --out, or remove it."
MOUNTED = "{out} is a disk of its own, which nothing can take the place of: name a folder in it with --out."
BELOW = "{above} isn't a folder, so there can be none in it: name another one with --out."
LINK = "{file} in {name} is a link to a file elsewhere: put a copy of it in its place, or remove it."
INSIDE = "{out} is the model itself, or in it: name another folder with --out."
NO_FOLDER = "{out} can't be written: check its permissions, or name another folder with --out."
UNREADABLE = "{file} in {name} can't be read: check its permissions."
FULL = "The disk is too full: the merged model takes {needed:.2f} GB. Free some space, or name another disk with --out."

Counted = Callable[[int], None]


@dataclass(frozen=True)
class Merge:
    """What is to be written, looked over: nothing is wrong with the base, the adapter and the place."""

    base: Path
    adapter: Adapter
    model: Ovis  # of shapes alone
    goals: tuple[Goal, ...]  # of what changes
    files: tuple[Path, ...]
    left_out: tuple[str, ...]  # names of files that hold the base's weights in other formats
    out: Path
    replaces: bool = False  # what lies there

    @classmethod
    def of(cls, base: Path, spec: ModelSpec, out: Path, *, replaces: bool = False) -> Merge:
        """Looks over the base's folder and the adapter that its row names. Raises BackendError."""
        folder = spec.adapter
        assert folder is not None
        return cls._of(base, lambda model: Adapter.read(folder, model, base=spec), out, replaces)

    @classmethod
    def of_values(cls, base: Path, values: Path, out: Path, *, replaces: bool = False) -> Merge:
        """The same for a file of other values, by the names of parameters. Raises BackendError."""
        return cls._of(base, lambda model: Adapter.of_values(values, model), out, replaces)

    @classmethod
    def _of(cls, base: Path, adapter_for: Callable[[Ovis], Adapter], out: Path, replaces: bool) -> Merge:
        config = OvisConfig.read(base)
        tensors = read_headers(base, config)
        model = check_shapes(base, config, tensors)
        adapter = adapter_for(model)
        _check_place(base, out, replaces=replaces)
        shards = {tensor.file for tensor in tensors.values()}
        files = [file for file in _files(base) if file in shards or file.suffix.lower() not in WEIGHTS]
        _check_links(base, [file for file in files if file not in shards])
        left_out = [file.name for file in _files(base) if file not in files]
        goals = [goal for goal in goals_of(model, tensors, config, base) if goal.name in adapter.changes]
        return cls(base, adapter, model, tuple(goals), tuple(files), tuple(left_out), out, replaces)

    @property
    def room(self) -> int:
        """Bytes that it takes."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def size(self) -> int:
        """Bytes that will be written, those that change twice."""
        return self.room + sum(part.size for goal in self.goals for part in goal.parts)

    def write(self, counted: Counted = lambda count: None) -> None:
        """Writes it all, or nothing. `counted` hears of every piece's bytes, and what it raises passes through. Raises
        BackendError."""
        try:
            with made_whole(self.out, replaces=self.replaces) as folder:
                if shutil.disk_usage(folder).free < self.room:
                    raise OSError(errno.ENOSPC, "too little space")
                for file in self.files:
                    _copy(self.base, file, folder / file.relative_to(self.base), counted)
                with damage_as_sentences(self.base):
                    self._change(folder, counted)
        except FileExistsError as error:  # of another, who was done first
            raise AdapterError(TAKEN.format(out=self.out)) from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise BackendError(FULL.format(needed=self.room / 1e9)) from error
            raise AdapterError(NO_FOLDER.format(out=self.out)) from error

    def _change(self, folder: Path, counted: Counted) -> None:
        """Writes the changed values over the base's, each in its type and place. Raises AdapterError, Damaged."""
        with Reader(counted) as reader:
            for goal in self.goals:
                shape, begin = goal.part_shape(self.model.get_parameter(goal.name).shape), 0
                for part in goal.parts:
                    values = torch.empty(shape, dtype=part.dtype)
                    reader.read(part, values)
                    self.adapter.change(goal.name, values, begin)
                    begin += len(values)
                    with (folder / part.file.relative_to(self.base)).open("r+b") as file:
                        file.seek(part.begin)
                        file.write(values.view(-1).view(torch.uint8).numpy().data)
                        _sync(file)


def _check_place(base: Path, out: Path, *, replaces: bool) -> None:
    """Raises AdapterError where something lies that would be lost, or a folder can't be."""
    if _real(out).is_relative_to(_real(base)):
        raise AdapterError(INSIDE.format(out=out))
    try:
        taken = out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir())))
        above = next((folder for folder in out.absolute().parents if os.path.lexists(folder)), out)
        mounted, below = out.is_mount(), above.is_dir()
    except OSError as error:
        raise AdapterError(NO_FOLDER.format(out=out)) from error
    if taken and not replaces:
        raise AdapterError(TAKEN.format(out=out))
    if mounted:
        raise AdapterError(MOUNTED.format(out=out))
    if not below:
        raise AdapterError(BELOW.format(above=above))


def _real(path: Path) -> Path:
    """Without links, of which some lead nowhere or in a circle."""
    return Path(os.path.realpath(path))


def _files(base: Path) -> list[Path]:
    """Everything in a folder but what lies in hidden ones, as .git, and the checksums of weights that will differ."""
    files = (file for file in sorted(base.rglob("*")) if file.is_file() and file.name != SUMS)
    return [file for file in files if not _hidden(file.relative_to(base).parent)]


def _check_links(base: Path, files: Iterable[Path]) -> None:
    """Raises AdapterError for a link out of the folder: who sent it could have it copied what isn't theirs, for
    everybody to read. In the hub's cache all files are links to its blobs."""
    home = _real(base)
    homes = (home, home.parent.parent / "blobs") if home.parent.name == "snapshots" else (home,)
    for file in files:
        if file.is_symlink() and not any(_real(file).is_relative_to(one) for one in homes):
            raise AdapterError(LINK.format(name=called(base), file=visible(file.name)))


def _hidden(folder: Path) -> bool:
    return any(part.startswith(".") for part in folder.parts)


def _copy(base: Path, file: Path, to: Path, counted: Counted) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        opened = file.open("rb")
    except OSError as error:
        raise BackendError(UNREADABLE.format(name=called(base), file=visible(file.name))) from error
    with opened as source, to.open("wb") as target:
        for piece in _pieces(source):
            target.write(piece)
            counted(len(piece))
        _sync(target)
    to.chmod(0o644)  # whoever merges isn't always who serves


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    while piece := source.read(PIECE):
        yield piece


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
