"""A file or folder of questions to a file of answers: rows in, rows out, what is done stays done.

Knows CSV, JSON lines and folders; refuses to know models: whoever answers is passed in.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ovis_app.conversation import Conversation, Message
from ovis_app.errors import BatchError
from ovis_app.limits import Limits
from ovis_app.media import attach_all

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
CLIPS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
FIELDS = ("id", "prompt", "media", "text", "thinking", "finish", "error", "stats")

Answerer = Callable[[Sequence[Conversation]], list[Message]]


csv.field_size_limit(1 << 30)  # thoughts are long


@dataclass(frozen=True)
class Row:
    """One question. `id` is its place in the input and names it in the output."""

    id: str
    prompt: str
    media: tuple[str, ...] = field(default=())


def rows(source: Path, prompt: str) -> list[Row]:
    """The questions of a folder (one a file), a CSV or a JSON-lines file (columns id, prompt, image, images, video).
    Raises BatchError naming what is wrong and where."""
    if source.is_dir():
        files = sorted(p for p in source.rglob("*") if p.suffix.lower() in (*PICTURES, *CLIPS))
        found = [Row(str(p.relative_to(source)), prompt, (str(p),)) for p in files]
    elif source.suffix.lower() == ".csv":
        with source.open(newline="", encoding="utf-8-sig") as file:
            found = [_row(data, n, source.parent, prompt) for n, data in enumerate(csv.DictReader(file), 1)]
    elif source.suffix.lower() in (".jsonl", ".ndjson"):
        lines = source.read_text(encoding="utf-8").split("\n")
        found = [_row(_json(line, n), n, source.parent, prompt) for n, line in enumerate(lines, 1) if line.strip()]
    elif not source.exists():
        raise BatchError(f"There is no file or folder {source.name}.")
    else:
        raise BatchError(f"{source.name} is no folder, CSV or JSON-lines (.jsonl) file.")
    if not found:
        raise BatchError(f"There is nothing to ask about in {source.name}.")
    repeated = [name for name, times in Counter(row.id for row in found).items() if times > 1]
    if repeated:
        raise BatchError(f"Row id {repeated[0]} stands there twice: ids name the answers.")
    missing = next((row.id for row in found if not row.prompt.strip()), None)
    if missing is not None:
        raise BatchError(f"Row {missing} has no prompt: give one with --prompt.")
    return found


def _json(line: str, number: int) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise BatchError(f"Line {number} is not JSON.") from error
    if not isinstance(data, dict):
        raise BatchError(f"Line {number} is not a JSON object.")
    return data


def _row(data: dict[str, Any], number: int, folder: Path, prompt: str) -> Row:
    """One record; paths are taken from the input's folder."""
    listed = data.get("images") or []
    if not isinstance(listed, str | list):
        raise BatchError(f"images of row {number} must be a list of files.")
    several = listed.split(";") if isinstance(listed, str) else listed
    names = [*several, *(data.get(column) for column in ("image", "video"))]
    media = tuple(str(folder / str(name).strip()) for name in names if name)
    given = data.get("id")
    return Row(str(number if given in (None, "") else given), str(data.get("prompt") or prompt), media)


def done(out: Path) -> set[str]:
    """Ids that the output holds already, failed and half-written ones left out: those are tried again."""
    if not out.is_file():
        return set()
    found: list[Any] = []
    if out.suffix.lower() == ".csv":
        with out.open(newline="", encoding="utf-8") as file:
            found += csv.DictReader(file)
    else:
        for line in out.read_text(encoding="utf-8").split("\n"):
            with suppress(json.JSONDecodeError):  # the line that an interrupted run was writing
                found.append(json.loads(line))
    whole = [row for row in found if isinstance(row, dict) and row.get("finish") and not row.get("error")]
    return {str(row["id"]) for row in whole if "id" in row}


def run(
    asked: Iterable[Row], out: Path, answerer: Answerer, *, limits: Limits, size: int, progress: Callable[[int], None]
) -> tuple[int, int]:
    """Answers what has no answer yet, `size` rows at a time, appending each batch to `out`. Returns how many rows were
    answered and how many failed. Raises BatchError when `out` can't be written."""
    cut(out)
    finished = done(out)
    todo = [row for row in asked if row.id not in finished]
    answered = failed = 0
    try:
        with _writer(out) as write:
            for start in range(0, len(todo), size):
                part = todo[start : start + size]
                for row, message in zip(part, _answers(part, answerer, limits), strict=True):
                    write(row, message)
                    failed += bool(message.error)
                    answered += not message.error
                progress(len(part))
    except OSError as error:
        raise BatchError(f"{out.name} can't be written: check the folder and the free disk space.") from error
    return answered, failed


def _answers(part: Sequence[Row], answerer: Answerer, limits: Limits) -> list[Message]:
    answers: dict[int, Message] = {}
    asked: list[tuple[int, Conversation]] = []
    for number, row in enumerate(part):
        media, refused = attach_all([(Path(name), Path(name).name) for name in row.media], limits)
        if refused:
            answers[number] = Message("assistant", error=" ".join(refused), finish="error")
        else:
            asked.append((number, Conversation((Message("user", row.prompt, media),))))
    if asked:
        said = answerer([conversation for _, conversation in asked])
        answers.update((number, message) for (number, _), message in zip(asked, said, strict=True))
    return [answers[number] for number in range(len(part))]


def cut(out: Path) -> None:
    """Cuts off the row that an interrupted run was writing. A line that ends within quotes is no row's end."""
    if not out.is_file():
        return
    end = at = quotes = 0
    for line in out.read_bytes().splitlines(keepends=True):
        at += len(line)
        quotes += line.count(b'"') if out.suffix.lower() == ".csv" else 0
        if line.endswith(b"\n") and quotes % 2 == 0:
            end = at
    os.truncate(out, end)


class _writer:
    """Appends rows to a CSV or JSON-lines file; each is on disk before the next batch begins."""

    def __init__(self, out: Path) -> None:
        self.out, self.csv = out, out.suffix.lower() == ".csv"

    def __enter__(self) -> Callable[[Row, Message], None]:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        begun = self.out.is_file() and self.out.stat().st_size > 0
        self._file = self.out.open("a", newline="" if self.csv else None, encoding="utf-8")
        if self.csv and not begun:
            csv.DictWriter(self._file, FIELDS).writeheader()
        return self._write

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _write(self, row: Row, message: Message) -> None:
        data = {
            "id": row.id,
            "prompt": row.prompt,
            "media": list(row.media),
            "text": message.text,
            "thinking": message.thinking,
            "finish": message.finish,
            "error": message.error,
            "stats": asdict(message.stats) if message.stats else None,
        }
        if self.csv:
            flat = {**data, "media": ";".join(row.media), "stats": json.dumps(data["stats"])}
            csv.DictWriter(self._file, FIELDS).writerow(flat)
        else:
            self._file.write(json.dumps(data, ensure_ascii=False) + "\n")
        self._file.flush()
