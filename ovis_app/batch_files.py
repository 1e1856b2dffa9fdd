"""Questions to a file of answers: rows in, rows out, what is done stays done, at whatever moment a run ends.

Knows CSV and JSON lines; refuses to know models: whoever answers is passed in. Questions come from batch_rows.py.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ovis_app.batch_rows import Row
from ovis_app.conversation import Conversation, Message
from ovis_app.errors import BatchError, MediaError
from ovis_app.limits import Limits
from ovis_app.media import PageChoice, PageRange, attach_all, grouped_with_pages
from ovis_app.named_files import printable
from ovis_app.places import in_place
from ovis_app.private_folder import held, temporary_folder

FIELDS = ("id", "prompt", "media", "text", "thinking", "finish", "error", "stats")
DATA = "data"  # what an answer says, parsed; only where answers are checked by a schema
MARK = "\ufeff"  # begins a CSV, since Excel takes one without it for the machine's old encoding

# What spreadsheets take for a formula, also behind apostrophes, so that each is told from what it stood for; and
# numbers, which are none. static/page/csv.mjs has the same.
FORMULA = re.compile(r"'*[=+\-@\t\r]")
NUMBER = re.compile(r"[+-]?\d[\d.,]{0,40}%?")

ALL_PAGES = PageChoice()
TAKEN = "Another run writes into {out} now: wait until it ends, or name another file with --out."

Answerer = Callable[[Sequence[Conversation], str], list[Message]]  # the questions, and a system prompt of theirs
Parsed = Callable[[str], Any]


@contextmanager
def taken(out: Path) -> Iterator[None]:
    """A file of answers for this run alone while the block runs, from before it is looked at: two would ask the same,
    and one might cut off a row that the other is writing. Raises BatchError where another run has it. It is made where
    it isn't there; where that can't be done, whoever reads or writes it says why."""
    with ExitStack() as kept:
        alone = True
        with suppress(OSError):
            out.parent.mkdir(parents=True, exist_ok=True)
            if not out.exists():
                out.open("ab").close()
            alone = kept.enter_context(held(out))
        if not alone:
            raise BatchError(TAKEN.format(out=printable(out.name)))
        yield


def left_to_ask(asked: Sequence[Row], out: Path, *, data: bool = False) -> list[Row]:
    """Makes a file of answers ready to go on: cuts a half-written row off. Returns the rows that aren't answered there;
    what failed is tried again. `data` is whether answers are checked by a schema. Raises BatchError where the file
    holds something else than answers, or one to another question."""
    try:
        if not out.exists():
            return list(asked)
        _check_beginning(out, _fields(data))
        cut(out)
        kept = {row["id"]: row for row in _rows_in(out) if row.get("finish") and not row.get("error")}
    except (OSError, ValueError, csv.Error) as error:
        raise BatchError(
            f"{printable(out.name)} can't be read or isn't a file of answers: name another with --out."
        ) from error
    other = next((row.id for row in asked if row.id in kept and not _is_answer_to(row, kept[row.id])), None)
    if other is not None:
        raise BatchError(
            f"Row {printable(other)} of {printable(out.name)} answers another question or one about other files: name "
            "another file with --out."
        )
    return [row for row in asked if row.id not in kept]


def _is_answer_to(row: Row, kept: Mapping[str, Any]) -> bool:
    """Whether a kept row was asked the same. Only the names of files count: folders are named from where one is."""
    prompt, media = row.written or row.prompt, _media(row)
    held = kept.get("media", media)
    names = [";".join(map(str, one)) if isinstance(one, list) else str(one) for one in (media, held)]
    asked, answered = ([re.split(r"[/\\]", name)[-1] for name in _as_kept(one).split(";")] for one in names)
    return _as_kept(prompt) == _as_kept(str(kept.get("prompt", prompt))) and asked == answered


def _as_kept(text: str) -> str:
    """As it comes out of a file: half characters are written as their numbers."""
    return text.encode("utf-8", "backslashreplace").decode()


def _media(row: Row) -> list[str]:
    return [name for turn in row.earlier for name in turn.media] + list(row.media)


def guarded(text: str) -> str:
    """A cell that no spreadsheet runs as a formula: it has an apostrophe before it. Numbers are left alone."""
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and guarded(text[1:]) == text else text


def _fields(data: bool) -> tuple[str, ...]:
    return (*FIELDS, DATA) if data else FIELDS


def _check_beginning(out: Path, fields: Sequence[str]) -> None:
    """Raises BatchError where the first line isn't the one that we would have written, or a part of that."""
    with out.open("rb") as file:
        line = file.readline()
    text = line.decode("utf-8-sig", "ignore").rstrip("\r\n")  # a character may have been cut
    whole, ours = line.endswith(b"\n"), '{"id": '
    if _is_csv(out):
        header = ",".join(fields)
        if text in (",".join(FIELDS), ",".join((*FIELDS, DATA))) and text != header and whole:
            raise BatchError(f"{out.name} was begun {'without' if DATA in fields else 'with'} --schema: name another.")
        fits = text == header if whole else header.startswith(text)
    else:
        fits = {"id", "finish"} <= set(_object(text)) if whole else ours.startswith(text[: len(ours)])
    if not fits:
        raise BatchError(f"{out.name} is there already and holds something else than answers: name another file.")


def _object(line: str) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        row = json.loads(line)
        return row if isinstance(row, dict) else {}
    return {}


def _rows_in(out: Path) -> Iterator[dict[str, Any]]:
    with out.open(newline="" if _is_csv(out) else "\n", encoding="utf-8-sig") as file:
        cells = ({name: unguarded(text or "") for name, text in row.items() if name} for row in csv.DictReader(file))
        found = cells if _is_csv(out) else map(_object, file)
        yield from (row | {"id": str(row["id"])} for row in found if row.get("id") is not None)


def run(
    asked: Sequence[Row], out: Path, answerer: Answerer, *, limits: Limits, size: int, parsed: Parsed | None = None,
    choice: PageChoice = ALL_PAGES,
) -> Generator[tuple[Row, Message], None, None]:  # fmt: skip
    """Answers rows, `size` of them at a time, appending each batch to `out`, and gives each with its answer once it is
    there. `parsed` makes data of an answer's text; `choice` is of pages, where a row names none. Raises BatchError when
    `out` can't be written."""
    with _Writer(out, parsed) as write:
        for start in range(0, len(asked), size):
            part = asked[start : start + size]
            answers = _answers(part, answerer, limits, choice)
            for row, message in zip(part, answers, strict=True):
                write(row, message)
            yield from zip(part, answers, strict=True)


def _answers(part: Sequence[Row], answerer: Answerer, limits: Limits, choice: PageChoice) -> list[Message]:
    answers: dict[int, Message] = {}
    asked: dict[int, Conversation] = {}
    notes: dict[int, tuple[str, ...]] = {}
    with temporary_folder() as folder:
        for number, row in enumerate(part):
            try:
                asked[number], notes[number] = _conversation(row, folder, limits, choice)
            except (BatchError, MediaError) as error:
                answers[number] = Message("assistant", error=str(error), finish="error")
        for system in dict.fromkeys(part[number].system for number in asked):
            same = [number for number in asked if part[number].system == system]
            for number, message in zip(same, answerer([asked[number] for number in same], system), strict=True):
                stats = message.stats and replace(message.stats, notes=notes[number])
                answers[number] = replace(message, stats=stats)
    return [answers[number] for number in range(len(part))]


def _conversation(row: Row, folder: Path, limits: Limits, choice: PageChoice) -> tuple[Conversation, tuple[str, ...]]:
    """What a row asks, with all of its files, and what is to be said of pages of documents, which are drawn into the
    folder. Raises BatchError or MediaError where any of it can't be used."""
    if row.problem:
        raise BatchError(row.problem)
    if row.pages:
        choice = replace(choice, wanted=PageRange.parse(row.pages))
    messages, said = list[Message](), list[str]()
    for turn in row.turns:
        named = [(Path(name), Path(name).name) for name in turn.media]
        groups, notes = grouped_with_pages(named, folder, limits, choice)
        media, refused = attach_all([file for group in groups for file in group], limits)
        if refused:
            raise MediaError(" ".join(refused))
        said += notes
        message = Message(turn.role, turn.text, media)
        messages.append(in_place(message, turn.places, [len(group) for group in groups]) if turn.places else message)
    return Conversation(tuple(messages)), tuple(said)


def cut(out: Path) -> None:
    """Cuts off the row that an interrupted run was writing. A line that ends within quotes is no row's end."""
    if not out.is_file():
        return
    end = at = quotes = 0
    with out.open("rb") as file:
        for line in file:
            at += len(line)
            quotes += line.count(b'"') if _is_csv(out) else 0
            if line.endswith(b"\n") and quotes % 2 == 0:
                end = at
    if end < at:
        os.truncate(out, end)


def _is_csv(out: Path) -> bool:
    return out.suffix.lower() == ".csv"


class _Writer:
    """Appends rows to a CSV or JSON-lines file; each is there before the next batch begins."""

    def __init__(self, out: Path, parsed: Parsed | None) -> None:
        self.out, self.csv, self.parsed = out, _is_csv(out), parsed
        self.fields = _fields(parsed is not None)

    def __enter__(self) -> Callable[[Row, Message], None]:
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            begun = self.out.is_file() and self.out.stat().st_size > 0
            self._file = self.out.open("a", newline="", encoding="utf-8", errors="backslashreplace")
            if self.csv and not begun:
                self._file.write(MARK)
                csv.DictWriter(self._file, self.fields).writeheader()
        except OSError as error:
            raise self._full() from error
        return self._write

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # said already, by what couldn't be written
            self._file.close()

    def _full(self) -> BatchError:
        return BatchError(f"{self.out.name} can't be written: check the folder and the free disk space.")

    def _write(self, row: Row, message: Message) -> None:
        media = _media(row)
        data = {
            "id": row.id,
            "prompt": row.written or row.prompt,
            "media": media,
            "text": message.text,
            "thinking": message.thinking,
            "finish": message.finish,
            "error": message.error,
            "stats": asdict(message.stats) if message.stats else None,
        }
        if self.parsed is not None:
            data[DATA] = None if message.error else self.parsed(message.text)
        try:
            if self.csv:
                flat: dict[str, Any] = {**data, "media": ";".join(media)}
                flat |= {name: json.dumps(data[name], ensure_ascii=False) for name in ("stats", DATA) if name in data}
                cells = {name: guarded(str(text or "")) for name, text in flat.items()}
                csv.DictWriter(self._file, self.fields).writerow(cells)
            else:
                self._file.write(json.dumps(data, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._full() from error
