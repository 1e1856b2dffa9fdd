"""Reads safetensors files straight into a model's parameters: no second copy in memory, nothing mapped, bytes counted.

Knows the file format (https://huggingface.co/docs/safetensors: eight bytes of length, a JSON header, the tensors) and
where a tensor goes; refuses to know what a model is made of.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ovis_app.errors import visible

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
PIECE = 8 * 2**20  # bytes read at a time: what there is beside the parameters, and how often progress is reported
MOST_TENSORS = 100_000  # of a model or an adapter: five times those of the largest model of the zoo, whose experts come
# one by one, and twice those of an adapter of them all. They take some hundred megabytes once they are read
MOST_HEADER = 16 * 10**6  # bytes, what that many need
MOST_SIZES = 16  # of a tensor; the product of a million takes hours
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

Counted = Callable[[int], None]


class Damaged(Exception):
    """A file that isn't what it should be; `file` is the one, the text says what is wrong with it, and `half` whether
    it was never written to its end, so that fetching it again mends it."""

    def __init__(self, file: Path, what: str, *, half: bool = True) -> None:
        super().__init__(f"{visible(file.name)} {what}")
        self.file, self.half = file, half


class Unknown(Exception):
    """A file that nobody here can read, of such numbers or of so many tensors; the text names them."""

    @classmethod
    def large(cls, file: Path) -> Unknown:
        return cls(f"{visible(file.name)} begins with more than {MOST_HEADER // 10**6} MB about its tensors")

    @classmethod
    def many(cls, file: Path) -> Unknown:
        return cls(f"{visible(file.name)} tells of more than {MOST_TENSORS:,} tensors")


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int  # bytes from the file's start
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.begin


def stored(folder: Path) -> dict[str, Stored]:
    """Every tensor of a checkpoint by its name. Raises Damaged, also for a shard that the index names and isn't there;
    a tensor that two shards hold; Unknown; FileNotFoundError where there are no safetensors files at all."""
    found: dict[str, Stored] = {}
    for file in _files(folder):
        tensors = dict(_tensors(file))
        if not found.keys().isdisjoint(tensors):
            raise Damaged(file, "holds weights that another file holds too", half=False)
        if len(found) + len(tensors) > MOST_TENSORS:
            raise Unknown.many(file)
        found |= tensors
    if not found:
        raise FileNotFoundError(f"no weights in {folder.name}")
    return found


def stored_in(file: Path) -> dict[str, Stored]:
    """Every tensor of one file by its name. Raises Damaged and Unknown."""
    return dict(_tensors(file))


def _files(folder: Path) -> list[Path]:
    """The files that belong together, as transformers chooses them. Raises Damaged and Unknown."""
    single, index = folder / SINGLE, folder / INDEX
    if single.is_file():
        return [single]
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    try:
        with index.open("rb") as stream:
            names = sorted(set(_facts(index, stream.read(MOST_HEADER + 1))["weight_map"].values()))
        files = [folder / Path(name).name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(index, "is damaged", half=isinstance(error, ValueError)) from error
    for file in files:
        if not file.is_file():
            raise Damaged(file, "is missing")
    return files


def _tensors(file: Path) -> Iterator[tuple[str, Stored]]:
    """What a file's header says, held against its size. Raises Damaged and Unknown."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= size - 8:
            raise Damaged(file, "is damaged or incomplete")
        try:
            header = _facts(file, stream.read(min(length, MOST_HEADER + 1)))
        except (ValueError, RecursionError) as error:
            raise Damaged(file, "is damaged or incomplete") from error
    try:
        header.pop("__metadata__", None)
        found = [(name, _stored(file, facts, 8 + length)) for name, facts in header.items()]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise Damaged(file, "has a header that makes no sense", half=False) from error
    end = 8 + length
    for _, tensor in sorted(found, key=lambda one: (one[1].begin, one[1].end)):
        if tensor.begin != end:  # a hole, or bytes that two tensors claim
            raise Damaged(file, "has a header that makes no sense", half=False)
        end = tensor.end
    if end > size:
        raise Damaged(file, "is incomplete")
    if end < size:
        raise Damaged(file, "is longer than its header says", half=False)
    yield from found


def _facts(file: Path, said: bytes) -> Any:
    """JSON of an index or a header. Raises ValueError, RecursionError, and Unknown before anything is made of what
    tells of too many: each tensor is an object with two lists, and Python may take two hundred bytes a small one."""
    if len(said) > MOST_HEADER:
        raise Unknown.large(file)
    if said.count(b"{") + said.count(b"[") > 3 * MOST_TENSORS + 2:  # around all, and what is said beside
        raise Unknown.many(file)
    return json.loads(said)


def _stored(file: Path, facts: Mapping[str, object], start: int) -> Stored:
    begin, end = (index(offset) + start for offset in facts["data_offsets"])  # type: ignore[attr-defined]
    if facts["dtype"] not in DTYPES:
        raise Unknown(f"{visible(file.name)} holds {visible(str(facts['dtype'])[:20])} numbers")
    if len(facts["shape"]) > MOST_SIZES:  # type: ignore[arg-type]
        raise ValueError("no such tensor")
    dtype, shape = DTYPES[str(facts["dtype"])], tuple(index(size) for size in facts["shape"])  # type: ignore[attr-defined]
    if min(shape, default=0) < 0 or end - begin != dtype.itemsize * math.prod(shape) or begin < start:
        raise ValueError("sizes differ")
    return Stored(file, dtype, shape, begin, end)


class Reader:
    """Reads tensors one after the other, keeping one file open. `counted` is called with the bytes of every piece, and
    may raise to end the reading. With `zeros` a file may end in them. Close it, or use it with `with`."""

    def __init__(self, counted: Counted, *, zeros: bool = False) -> None:
        self._counted, self._zeros = counted, zeros
        self._file: Path | None = None
        self._stream: BinaryIO | None = None
        self._piece = torch.empty(0, dtype=torch.uint8)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def read(self, tensor: Stored, out: Tensor) -> None:
        """Fills `out`, of the stored shape or of as many elements, converting where its dtype or device is another.
        Raises Damaged where the file ends early, or in a matrix of nothing but zeros: its room was taken, and it was
        never written to its end. Zeros elsewhere may be what was trained."""
        stream = self._open(tensor)
        flat = out.detach().view(-1)
        direct = out.device.type == "cpu" and out.dtype == tensor.dtype
        step = PIECE // tensor.dtype.itemsize
        last = len(tensor.shape) > 1 and tensor.begin < tensor.end == os.fstat(stream.fileno()).st_size
        alive = self._zeros or not last
        for begin in range(0, flat.numel(), step):
            part = flat[begin : begin + step]
            values = part if direct else self._scratch(part.numel() * tensor.dtype.itemsize).view(tensor.dtype)
            raw = values.view(torch.uint8).numpy()
            if not _filled(stream, memoryview(raw)):  # type: ignore[arg-type]
                raise Damaged(tensor.file, "is incomplete")
            alive = alive or bool(raw[:4096].any() or raw.any())
            if not direct:
                part.copy_(values)
            self._counted(len(raw))
        if not alive:
            raise Damaged(tensor.file, "has zeros where its last weights should be")

    def _open(self, tensor: Stored) -> BinaryIO:
        if self._file != tensor.file:
            if self._stream is not None:
                self._stream.close()
            self._file, self._stream = tensor.file, tensor.file.open("rb", buffering=0)
        assert self._stream is not None
        self._stream.seek(tensor.begin)
        return self._stream

    def _scratch(self, count: int) -> Tensor:
        """`count` bytes that every piece uses again."""
        if len(self._piece) < count:
            self._piece = torch.empty(count, dtype=torch.uint8)
        return self._piece[:count]


def _filled(stream: BinaryIO, view: memoryview) -> bool:
    """Whether the stream had enough for all of `view`."""
    begin = 0
    while begin < len(view):
        count = stream.readinto(view[begin:])  # type: ignore[attr-defined]
        if not count:
            return False
        begin += count
    return True
