"""From a file of text to records: CSV with any usual separator, JSON lines, or a list in JSON.

Knows encodings, separators and sizes; a file that is no such thing is refused in one sentence before it fills the
memory. Refuses to know what columns mean.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ovis_app.errors import BatchError
from ovis_app.named_files import printable

LONGEST_LINE = 8_000_000  # characters
LONGEST_HEADER = 100_000
LONGEST_FIELD = 1 << 22  # of a CSV, characters; thoughts are long
MOST_COLUMNS = 1_000
LARGEST_LIST = 16_000_000  # bytes of JSON that must be read as a whole
TABLES, LINES = (".csv", ".tsv"), (".jsonl", ".ndjson", ".json")
SEPARATORS = ",;\t|"
HINT = re.compile(r"sep=(.)\s{0,3}", re.IGNORECASE)  # a line for Excel before the header
BINARY = frozenset((*range(9), *range(14, 27)))  # bytes that no encoding of text has, but UTF-16 and the like
MARKS = (  # at the beginning of a file, the longer ones first
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)

csv.field_size_limit(LONGEST_FIELD)


@dataclass(frozen=True)
class Record:
    """One row: columns by name, in order, since a name may stand there twice. `number` is its place."""

    number: int
    columns: tuple[tuple[str, object], ...]
    problem: str = ""  # why it can't be believed


def records(source: Path, known: Callable[[str], bool]) -> Iterator[Record]:
    """The records of a file; of the separators that a CSV may have, the one that gives most `known` columns. Raises
    BatchError naming what is wrong and where."""
    suffix = source.suffix.lower()
    if suffix in TABLES:
        yield from _table(source, known)
    elif suffix in LINES:
        first = next((line for line in lines(source, "\n") if line.strip()), "")
        yield from _list(source) if first.lstrip().startswith("[") else _objects(lines(source, "\n"))
    else:
        raise BatchError(
            f"{source.name} is no folder, CSV (.csv, .tsv) or JSON-lines (.jsonl) file: save it as one of these."
        )


def lines(source: Path, newline: str, *, longest: int = LONGEST_LINE) -> Iterator[str]:
    """The lines of a file of text, of at most `longest` characters each. Raises BatchError."""
    number = 0
    try:
        with source.open(newline=newline, encoding=_encoding(source)) as file:
            while line := file.readline(longest):
                number += 1
                if len(line) == longest:
                    raise BatchError(
                        f"Line {number} of {source.name} is longer than {longest:,} characters: "
                        "is it text, one row a line?"
                    )
                if "\0" in line:
                    raise BatchError(
                        f"Line {number} of {source.name} holds zero bytes: the file is damaged, no text, or UTF-16 "
                        "without its mark; save it as UTF-8."
                    )
                yield line
    except UnicodeDecodeError as error:
        raise BatchError(_no_utf8(source)) from error
    except OSError as error:
        raise BatchError(f"{source.name} can't be read: check its permissions.") from error


def _encoding(source: Path) -> str:
    with source.open("rb") as file:
        start = file.read(4)
    return next((encoding for mark, encoding in MARKS if start.startswith(mark)), "utf-8")


def _no_utf8(source: Path) -> str:
    """What to do with a file that isn't UTF-8: a table is saved anew by a spreadsheet program."""
    name, table = source.name, source.suffix.lower() in TABLES
    if _is_binary(source):
        if table:
            return f"{name} holds no text: in a spreadsheet program save it as “CSV UTF-8”."
        return f"{name} holds no text: it is damaged, or of another kind."
    quoted = shlex.quote(name)
    if table:
        return (
            f"{name} isn't UTF-8: save it as “CSV UTF-8” or convert it, as by "
            f"`iconv -f GBK -t UTF-8 {quoted}` where it is GBK, or by -f CP1252 where it is Western."
        )
    return (
        f"{name} isn't UTF-8: save it as UTF-8 or convert it, as by "
        f"`iconv -f GBK -t UTF-8 {quoted}` where it is GBK, or by -f CP1252 where it is Western."
    )


def _is_binary(source: Path) -> bool:
    """Whether it can be seen at a file's beginning that it holds no text, as those of spreadsheets do."""
    with source.open("rb") as file:
        return not BINARY.isdisjoint(file.read(4096))


def _table(source: Path, known: Callable[[str], bool]) -> Iterator[Record]:
    text = lines(source, "")
    head = next((line for line in text if line.strip()), "")
    hint = HINT.fullmatch(head)
    if hint:
        head = next(text, "")
    if len(head) > LONGEST_HEADER:
        raise BatchError(f"The header of {source.name} is longer than {LONGEST_HEADER:,} characters: is it a table?")
    separator = hint[1] if hint else _separator(head, known)
    reader = csv.reader(itertools.chain([head], text), delimiter=separator, strict=True, skipinitialspace=True)
    began, number = 1, 0
    try:
        header = next(reader, [])
        if len(header) > MOST_COLUMNS:
            raise BatchError(f"{source.name} has {len(header):,} columns: at most {MOST_COLUMNS:,} are read.")
        began = reader.line_num + 1
        for fields in reader:
            began = reader.line_num + 1
            if not fields:
                continue
            number += 1
            more = any(field.strip() for field in fields[len(header) :])
            problem = f"has more fields than the header's {len(header)}: put text with a “{separator}” into quotes."
            yield Record(number, tuple(zip(header, fields, strict=False)), problem if more else "")
    except csv.Error as error:
        raise BatchError(
            f"{source.name} can't be read from line {began} on: a quote is left open there, or a quote within quotes "
            "isn't written twice."
        ) from error


def _separator(head: str, known: Callable[[str], bool]) -> str:
    def fits(separator: str) -> tuple[int, int]:
        try:
            names = next(csv.reader([head], delimiter=separator, skipinitialspace=True), [])
        except csv.Error:
            return 0, 0
        return sum(map(known, names)), len(names)

    return max(SEPARATORS, key=fits)


def _objects(text: Iterator[str]) -> Iterator[Record]:
    for number, line in enumerate(text, 1):
        if line.strip():
            refusal = f"Line {number} is not JSON: each line must be an object, or the file a list of them."
            yield _record(_json(line, refusal, f"Line {number}"), number, "Line")


def _list(source: Path) -> Iterator[Record]:
    if source.stat().st_size > LARGEST_LIST:
        raise BatchError(f"{source.name} is a list of more than {LARGEST_LIST / 1e6:g} MB: save it as JSON lines.")
    rows = _json("".join(lines(source, "\n")), f"{source.name} begins as a list and is not JSON.", source.name)
    if not isinstance(rows, list):
        raise BatchError(f"{source.name} is no list of rows.")
    for number, row in enumerate(rows, 1):
        yield _record(row, number, "Row")


def _json(text: str, refusal: str, where: str) -> object:
    """What `text` says. Of two values under one name readers take the one or the other: that is refused, too."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        held = dict(pairs)
        if len(held) < len(pairs):
            twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise BatchError(f"{where} has “{printable(twice)}” twice in one object: leave one of them out.")
        return held

    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise BatchError(refusal) from error


def _record(data: object, number: int, unit: str) -> Record:
    if not isinstance(data, dict):
        raise BatchError(f"{unit} {number} is not a JSON object.")
    return Record(number, tuple(data.items()))
