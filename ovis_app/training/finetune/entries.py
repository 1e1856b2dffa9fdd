"""Files of training samples to their entries: a list in JSON, an object a line, or a datainfo that names such files.

Knows where files and their pictures lie. Refuses to know what an entry means.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovis_app.batch_tables import lines
from ovis_app.errors import BatchError, DataError
from ovis_app.named_files import printable

LARGEST_LIST = 100_000_000  # characters of JSON that must be read as a whole
LINES = (".jsonl", ".ndjson")
FORMATS = ("conversation", "caption")


@dataclass(frozen=True)
class Source:
    """A file of samples, and the folder of its pictures. `template` is what stands around a caption's picture."""

    file: Path
    folder: Path
    template: str | None = None


@dataclass(frozen=True)
class Entry:
    """One entry of a file. `number` is its place, from 1; `problem` says why there is no value."""

    number: int
    value: object
    problem: str = ""


def sources(data: Path, *, sets: str = "", image_dir: Path | None = None) -> list[Source]:
    """The files that `data` is or, as a datainfo, names; of several sets those that `sets` names, as `a|b`. Raises
    DataError."""
    if os.path.isdir(data):  # noqa: PTH112 - Path's own raises for a name that is too long
        raise DataError(f"{printable(str(data))} is a folder: name a list, a datainfo or a .jsonl of samples in it.")
    if not os.path.isfile(data):  # noqa: PTH113 - as above
        raise DataError(f"There is no file {printable(str(data))}: name a list, a datainfo or a .jsonl of samples.")
    named = _datainfo(data)
    if named is None:
        if sets:
            raise DataError(f"--sets chooses sets of a datainfo, and {data.name} holds samples: leave it out.")
        return [Source(data, image_dir or data.parent)]
    wanted = [name.strip() for name in sets.split("|") if name.strip()] or list(named)
    missing = [name for name in wanted if name not in named]
    if missing:
        raise DataError(f"{data.name} has no set “{printable(missing[0])}”: it has {', '.join(map(printable, named))}.")
    return [_source(name, named[name], data, image_dir) for name in wanted]


def entries(file: Path) -> Iterator[Entry]:
    """The entries of a file of samples, in order. Raises DataError where the file as a whole can't be read."""
    try:
        if _starts_with(file) == "[":
            yield from _of_list(file)
        elif file.suffix.lower() in LINES or (alone := _alone(file)) is None:
            yield from _of_lines(file)
        else:
            yield alone
    except BatchError as error:
        raise DataError(str(error)) from error


def _source(name: str, facts: Mapping[str, Any], data: Path, image_dir: Path | None) -> Source:
    meta, folder, kind = facts.get("meta_file"), facts.get("image_dir") or "", facts.get("data_format", FORMATS[0])
    if not isinstance(meta, str) or not isinstance(folder, str) or kind not in FORMATS:
        raise DataError(
            f"The set “{printable(name)}” of {data.name} needs a meta_file, an image_dir and a data_format that is "
            "conversation or caption."
        )
    file = _at(data.parent, meta)
    if not os.path.isfile(file):  # noqa: PTH113 - as above
        raise DataError(
            f"There is no file {printable(meta)}, which {data.name} names for “{printable(name)}”: paths are taken "
            f"from the folder of {data.name}."
        )
    if file.suffix.lower() == ".parquet":
        raise DataError(f"{file.name} is Parquet, which isn't read here: save it as JSON lines.")
    template = facts.get("caption_template")
    return Source(file, image_dir or _at(data.parent, folder), template if isinstance(template, str) else None)


def _at(folder: Path, name: str) -> Path:
    return folder / os.path.expanduser(name)  # noqa: PTH111 - Path's own raises for a ~ that nobody has


def _datainfo(file: Path) -> dict[str, dict[str, Any]] | None:
    """The sets that a datainfo names; None for a file of samples."""
    if file.suffix.lower() in LINES or _starts_with(file) != "{":
        return None
    try:
        found = json.loads(_whole(file))
    except (ValueError, RecursionError):
        return None  # an object a line, or what its lines are refused for
    if not isinstance(found, dict) or not found:
        return None
    if any(isinstance(value, dict) and "meta_file" in value for value in found.values()):
        return {str(name): value if isinstance(value, dict) else {} for name, value in found.items()}
    if {"conversations", "messages", "caption"} & set(found):
        return None
    raise DataError(
        f"{file.name} is neither a list of samples nor a datainfo, whose sets each name a meta_file: save a list, or "
        "one sample a line as .jsonl."
    )


def _starts_with(file: Path) -> str:
    """The first character that isn't white space."""
    try:
        for line in lines(file, "\n", longest=LARGEST_LIST):
            if line.strip():
                return line.lstrip()[0]
    except BatchError as error:
        raise DataError(str(error)) from error
    raise DataError(f"{file.name} is empty: it needs at least one sample.")


def _whole(file: Path) -> str:
    size = file.stat().st_size
    if size > LARGEST_LIST:
        raise DataError(
            f"{file.name} has {size / 1e6:,.0f} MB, and a list of more than {LARGEST_LIST / 1e6:g} MB isn't read: save "
            "it as .jsonl, one sample a line."
        )
    return "".join(lines(file, "\n", longest=LARGEST_LIST + 1))


def _alone(file: Path) -> Entry | None:
    """The only object of a file; None where another one follows, on a line of its own."""
    try:
        return Entry(1, json.loads(_whole(file)))
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            return None
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> DataError:
    if isinstance(error, json.JSONDecodeError):
        return DataError(f"Line {error.lineno} of {file.name} is not JSON ({error.msg}): mend it there.")
    return DataError(f"{file.name} holds numbers or lists within lists that can't be read: mend it.")


def _of_list(file: Path) -> Iterator[Entry]:
    try:
        values = json.loads(_whole(file))
    except (ValueError, RecursionError) as error:
        raise _damaged(file, error) from error
    if not values:
        raise DataError(f"{file.name} is an empty list: it needs at least one sample.")
    yield from (Entry(number, value) for number, value in enumerate(values, 1))


def _of_lines(file: Path) -> Iterator[Entry]:
    number = 0
    for place, line in enumerate(lines(file, "\n"), 1):
        if not line.strip():
            continue
        number += 1
        try:
            yield Entry(number, json.loads(line))
        except (ValueError, RecursionError):
            yield Entry(number, None, f"line {place} is not JSON: each line must be an object of its own")
