"""Many questions of a table, for the page: read by the rules of `ovis batch`, and their answers checked by a schema as
there. What comes back is what each row asks, and of which of the files that came along; asking is the page's.

Knows the store and tables; keeps nothing, and looks at no file but the table.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ovis_app.batch_rows import (
    ADDRESSES,
    FILES,
    ID,
    MESSAGES,
    PROMPT,
    Bounds,
    Questions,
    Row,
    given_questions,
)
from ovis_app.batch_tables import records
from ovis_app.conversation import whole
from ovis_app.errors import BatchError, RequestError, UserError
from ovis_app.json_check import checked
from ovis_app.media.file_store import FileStore
from ovis_app.media.incoming_file import writing
from ovis_app.prompt_template import Template, column_name
from ovis_app.ui.choosing import claimed

LARGEST = 4_000_000  # bytes of a table
MOST_FILES = 5_000
LONGEST_NAME = 1_000  # characters
LONGEST_WORDS = 20_000  # of a template, or of a prompt for all rows
BOUNDS = Bounds(rows=5_000, columns=100, text=8_000_000)
FIRST = 5  # rows that are looked at before all are asked
REASONS = 3  # that are told of rows that can't be asked
NO_TABLE = "That is no table of questions: reload the page, and choose it again."
# What a column is for, by what people call it.
KINDS = {
    **dict.fromkeys((*FILES, *ADDRESSES), "files"),
    **dict.fromkeys(PROMPT, "prompt"),
    **dict.fromkeys(ID, "id"),
    **dict.fromkeys(MESSAGES, "messages"),
}


def rows(asked: Mapping[str, Any], holder: str, *, store: FileStore) -> dict[str, Any]:
    """The questions of the table that is `uploaded`, or about each of `files` where there is none; and its columns,
    each with what it is for; of many rows only the `first`, where that is asked. Raises UserError."""
    files, words = _names(asked.get("files")), _text(asked, "template")
    template = Template(words) if words.strip() else None
    pictures, first = _text(asked, "pictures"), asked.get("first") is True
    if not asked.get("upload"):
        return _told(_read(None, "", files, template, pictures), template, pictures, first=first)
    path, name = claimed(asked, holder, store)
    if path.stat().st_size > LARGEST:
        raise BatchError(f"{name} is larger than {LARGEST / 1e6:g} MB: make several tables of it.")
    with writing(), TemporaryDirectory(prefix="ovis-", ignore_cleanup_errors=True) as folder:
        table = Path(folder, _named(_text(asked, "name") or name))
        shutil.copyfile(path, table)
        try:
            return _told(_read(table, table.name, files, template, pictures), template, pictures, first=first)
        except UserError as error:
            return {"refused": whole(str(error)), "columns": _header(table)}


def fits(asked: Mapping[str, Any], holder: str, *, store: FileStore) -> dict[str, Any]:
    """Whether an `answer` has the shape of a `schema`; of the schema alone, what is to stand behind each question.
    Raises UserError."""
    schema, answer = asked.get("schema"), asked.get("answer")
    if not isinstance(schema, str) or not (answer is None or isinstance(answer, str)):
        raise RequestError(NO_TABLE)
    return checked(schema, answer)


def _read(
    table: Path | None, name: str, files: Sequence[str], template: Template | None, pictures: str
) -> Questions:  # fmt: skip
    return given_questions(table, name, files, bounds=BOUNDS, template=template, pictures=pictures)


def _named(name: str) -> str:
    """What sentences call a table: its name, as far as it is one in any folder."""
    found = re.sub(r"[^\w .()-]", "_", re.split(r"[/\\]", name)[-1])[-60:].lstrip(".")
    return found if found.strip() else "table"


def _header(table: Path) -> list[dict[str, str]]:
    """The columns of a table that can't be asked as it is, so that somebody can say which one is for what."""
    try:
        first = next(records(table, lambda name: column_name(name) in KINDS), None)
    except UserError:
        return []
    names = [name for name, _ in first.columns] if first else []
    return [{"name": whole(one), "kind": KINDS.get(column_name(one), "ignored")} for one in names[: BOUNDS.columns]]


def _names(value: object) -> list[str]:
    """What the files are called that came along. Raises RequestError."""
    if not isinstance(value, list) or len(value) > MOST_FILES:
        raise RequestError(f"At most {MOST_FILES:,} files can go with a table.")
    if not all(isinstance(one, str) and 0 < len(one) <= LONGEST_NAME for one in value):
        raise RequestError(NO_TABLE)
    return value


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name) or ""
    if not isinstance(value, str) or len(value) > LONGEST_WORDS:
        raise RequestError(f"{name} must be text of at most {LONGEST_WORDS:,} characters.")
    return value


def _told(found: Questions, template: Template | None, pictures: str, *, first: bool) -> dict[str, Any]:
    wanted = {column_name(one) for one in template.columns} if template else set()
    own = {column_name(pictures)} if pictures else set()

    def kind(column: str) -> str:
        name = column_name(column)
        if column in found.ignored:
            return "ignored"
        return "files" if name in own else KINDS.get(name) or ("template" if name in wanted else name)

    columns = [{"name": whole(one), "kind": kind(one)} for one in found.columns]
    problems = [whole(one.problem) for one in found.rows if one.problem]
    shown = found.rows[:FIRST] if first else found.rows
    counts = {"count": len(found.rows), "failing": len(problems), "problems": list(dict.fromkeys(problems))[:REASONS]}
    return {"rows": [_row(one) for one in shown], "columns": columns, **counts}


def _row(row: Row) -> dict[str, Any]:
    """What a row asks. A file stands before its turn's text, or at the place that it has there."""
    told = {"id": row.id, "prompt": whole(row.written or row.prompt)}
    if row.problem:
        return {**told, "problem": whole(row.problem), "turns": []}
    turns = [
        {"role": one.role, "text": whole(one.text), "files": list(one.media)}
        | ({"places": list(one.places)} if one.places else {})
        for one in row.turns
    ]
    about = {"system": whole(row.system), "pages": row.pages}
    return {**told, "turns": turns, **{name: value for name, value in about.items() if value}}
