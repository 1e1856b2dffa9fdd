"""From a file or folder to questions: which columns hold the prompt and which the files, and what lies in a folder.

Knows the names that people give to columns. Refuses to know who answers; opens a file only to see what kind it is. A
row that names a file and can't be understood fails: it is never asked without.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from ovis_app import named_files
from ovis_app.batch_tables import Record, records
from ovis_app.batch_turns import DEPTH, Turn, history, names_in, placed, said, split, text_of
from ovis_app.errors import BatchError, MediaError, UserError
from ovis_app.generation import MAX_TEXT
from ovis_app.media.file_types import HEAD, PDF, kind_of
from ovis_app.media.page_range import PageRange
from ovis_app.named_files import Beside, Given, Lookup
from ovis_app.places import Place
from ovis_app.prompt_template import Template, column_name

ID = ("id", "row_id", "custom_id", "question_id")
PROMPT = ("prompt", "question", "query", "text", "instruction")  # of several the first
CLIPS = ("video", "videos", "video_path", "clip", "clips")
FILES = (
    *("image", "images", "image_path", "image_paths", "img", "picture", "pictures", "photo", "photos", "media"),
    *(
        "pdf",
        "pdfs",
        "document",
        "documents",
        "file",
        "files",
        "file_name",
        "filename",
        "file_path",
        "path",
        "audio",
        "audios",
        *CLIPS,
    ),
)
ADDRESSES = ("image_url", "image_urls", "img_url", "video_url", "url")  # read where nothing else names a file
MESSAGES = ("messages", "conversations")
KNOWN = frozenset((*ID, *PROMPT, *FILES, *ADDRESSES, *MESSAGES, "system", "history", "pages"))
LOOKED_FOR = (
    "prompt (or question, query, text, instruction), image, images, video, pdf (or file, image_path) and messages"
)
PICTURES = re.compile(
    r"\.(a?png|jpe?g|jpe|jfif|mpo|webp|gif|bmp|tiff?|avif|hei[cf]|jp2|tga|ico|ppm|pdf)", re.IGNORECASE
)
MOVING = re.compile(r"\.(mp4|mov|mkv|webm|avi|m4v|3gp|mpe?g|wmv|flv|m2ts|ogv)", re.IGNORECASE)
FEW = 3  # names that a sentence lists


@dataclass(frozen=True)
class Row:
    """One question. `id` is its number or name in the input and names it in the output; `earlier` is what was said
    before. `places` are its files' in the prompt; `written` is the prompt with its tags, where it has some."""

    id: str
    prompt: str
    media: tuple[str, ...] = ()
    earlier: tuple[Turn, ...] = ()
    system: str = ""
    pages: str = ""  # of its documents, as PageRange reads them
    problem: str = ""  # why it can't be asked, in a sentence
    places: tuple[Place, ...] = ()
    written: str = ""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All that was said, and the question."""
        return (*self.earlier, Turn("user", self.prompt, self.media, self.places))


@dataclass(frozen=True)
class Questions:
    """What there is to ask, and what of the input isn't read: columns of a table, files of a folder."""

    rows: tuple[Row, ...]
    ignored: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()  # of a table, as they are written there; those that are ignored among them


def questions(
    source: Path, *, prompt: str = "", template: Template | None = None, besides: Path | None = None
) -> Questions:
    """The questions of a folder (one a file), a CSV or a JSON-lines file. `prompt` is for rows without their own,
    `besides` a file that isn't meant where it lies in the folder. Raises BatchError naming what is wrong and where."""
    is_folder = _is_folder(source)
    found = _folder(source, prompt, template, besides) if is_folder else _table(source, prompt, template)
    return _checked(found, source.name)


def given_questions(
    table: Path | None, name: str, files: Sequence[str], *, bounds: Bounds, template: Template | None = None,
    pictures: str = "",
) -> Questions:  # fmt: skip
    """The questions of a table that came with these files, or without one a question about each of them; `name` is the
    table's, `pictures` another column that names files. Raises BatchError."""
    if table is None:
        rows = (_of_file(one, one, template.filled({"file": one}, f"“{one}”") if template else "") for one in files)
        return _checked(Questions(tuple(bounds.held(rows))), "what was given")
    read = _Table(Given(files), "", template, column_name(pictures))
    return _checked(_rows_of(records(table, read.known), read, name, bounds), name)


@dataclass(frozen=True)
class Bounds:
    """How much of a table is read where strangers send them."""

    rows: int
    columns: int
    text: int  # characters of all prompts together

    def held(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, while they are within. Raises BatchError."""
        text = 0
        for number, row in enumerate(rows, 1):
            text += sum(len(turn.text) for turn in row.turns) + len(row.written) + len(row.system)
            if number > self.rows:
                raise BatchError(f"There are more than {self.rows:,} rows: make several tables of it.")
            if text > self.text:
                raise BatchError(
                    f"The questions have more than {self.text:,} characters together: make several tables of it."
                )
            yield row


UNBOUNDED = Bounds(*[1 << 60] * 3)


def _checked(found: Questions, name: str) -> Questions:
    """What can be asked. Raises BatchError where a row can't be told from another, or asks nothing."""
    if not found.rows:
        raise BatchError(f"There is nothing to ask about in {name}.")
    repeated = [name for name, times in Counter(row.id for row in found.rows).items() if times > 1]
    if repeated:
        raise BatchError(f"Row id {few(repeated)} stands there twice: ids name the answers, so each needs its own.")
    missing = next((row.id for row in found.rows if not (row.prompt.strip() or row.problem)), None)
    if missing is not None:
        raise BatchError(f"Row {missing} has no prompt: call its column prompt, or write one question for all rows.")
    return found


def _is_folder(source: Path) -> bool:
    """Whether it is one, or else a file that may be a table. Raises BatchError."""
    name = named_files.printable(source.name)
    try:
        mode = source.stat().st_mode
        if stat.S_ISDIR(mode):
            return True
        if not stat.S_ISREG(mode):
            raise BatchError(f"{name} is neither a folder nor a file: save its rows in one.")
        if _holds_media(source):
            raise BatchError(f'{name} is no table: name its folder, or ask about it by `ovis "question"`.')
        return False
    except PermissionError as error:
        raise BatchError(f"{name} may not be read here: check its permissions.") from error
    except (OSError, ValueError) as error:
        raise BatchError(f"There is no file or folder {named_files.printable(str(source))}.") from error


def few(names: Sequence[str]) -> str:
    """The first of `names`, and how many more there are."""
    rest = len(names) - FEW
    first = ", ".join(named_files.printable(name) for name in names[:FEW])
    return f"{first} and {rest:,} more" if rest > 0 else first


def _table(source: Path, prompt: str, template: Template | None) -> Questions:
    table = _Table(Beside(source.parent), prompt, template)
    return _rows_of(records(source, table.known), table, source.name, UNBOUNDED)


def _rows_of(found: Iterable[Record], table: _Table, name: str, bounds: Bounds) -> Questions:
    rows = list(bounds.held(row for record in found if (row := table.row(record, bounds.columns)) is not None))
    if table.seen and not any(name not in ID and table.known(name) for name in table.seen):
        raise BatchError(
            f"No column of {name} is known: it has {few(list(table.seen.values()))}; looked "
            f"for are {LOOKED_FOR}, without case."
        )
    ignored = tuple(written for name, written in table.seen.items() if name not in table.used)
    return Questions(tuple(rows), ignored, columns=tuple(table.seen.values()))


@dataclass
class _Table:
    """How a table is read, and which of its columns were of use so far."""

    files: Lookup
    prompt: str
    template: Template | None
    pictures: str = ""  # a column that names files, whatever it is called
    seen: dict[str, str] = field(default_factory=dict)  # each column as it was written first
    used: set[str] = field(default_factory=set)

    def known(self, name: str) -> bool:
        """Whether a column of this name is read."""
        return column_name(name) in KNOWN | {self.pictures} or column_name(name) in self._wanted

    @property
    def _wanted(self) -> set[str]:
        return set(map(column_name, self.template.columns)) if self.template else set()

    def row(self, record: Record, most: int) -> Row | None:
        """The question of a record; None for an empty line of a spreadsheet. Raises BatchError where a column of the
        template is missing, or a column that isn't read names files."""
        if len(record.columns) > most:
            raise BatchError(f"There are {len(record.columns):,} columns: at most {most:,} are read.")
        columns = [(column_name(name), value) for name, value in record.columns]
        self.seen |= {
            column_name(name): name if name.strip() else "one without a name"
            for name, value in record.columns
            if column_name(name) not in self.seen and (name.strip() or value)
        }
        if all(value in (None, "", [], {}) for _, value in columns):
            return None
        values = dict(columns)
        id = _plain(next((str(values[name]) for name in ID if values.get(name) not in (None, "")), str(record.number)))
        own = self.template.filled(values, f"Row {id}") if self.template else ""
        used = ({*ID} | self._wanted) & set(values)
        try:
            if record.problem:
                raise BatchError(f"This row {record.problem}")
            row = self._asked(id, columns, own, used)
        except (BatchError, MediaError) as error:
            row = Row(id, own or _written(values) or self.prompt, problem=str(error))
            used |= KNOWN & set(values)  # what it is made of isn't known
        self.used |= used
        if not (row.problem or row.media or any(turn.media for turn in row.earlier)):
            read = used - self._wanted  # a template's column is text, which may be a file's name by mistake
            unread = [(name, value) for name, value in record.columns if column_name(name) not in read]
            _look_for_files(id, unread, self.files, texts=self._wanted)
        return row

    def _asked(self, id: str, columns: Sequence[tuple[str, object]], own: str, used: set[str]) -> Row:
        """The question; `used` gets the columns that it is made of. Raises BatchError or MediaError for this row."""
        values = dict(columns)
        files, clips = self._files(columns, used)
        messages = next((name for name in MESSAGES if values.get(name)), None)
        system = text_of(values.get("system"))
        pages = _range(values.get("pages"))
        used |= {"system", "pages"} & set(values)
        if messages is not None:
            if self.template:
                raise BatchError(f"This row has {messages}, which a template can't fill: leave one of them out.")
            used.add(messages)
            first, turns = said(values[messages])
            system = first or system
        else:
            asked = next((name for name in PROMPT if name in values), None) if not self.template else None
            used |= {asked or "", "history"} & set(values)
            own = own or text_of(values.get(asked or ""))
            turns = [*history(values.get("history")), Turn("user", own or self.prompt)]
            if not (own or files or clips or (self.template and self.template.columns)):
                raise BatchError("This row has neither a prompt of its own nor a file to ask about.")
        written = turns[-1].text
        if used & {*FILES, *ADDRESSES, *MESSAGES, self.pictures}:
            turns = placed(turns, files, clips)
        if len(system) > MAX_TEXT:
            raise BatchError(f"This row's system prompt is longer than {MAX_TEXT:,} characters: shorten it.")
        *earlier, last = [replace(turn, media=self._there(turn.media)) for turn in turns]
        if not last.text.strip():
            [last], written = placed([Turn("user", self.prompt)], last.media, []), self.prompt
        written = written if last.places else ""
        return Row(id, last.text, last.media, tuple(earlier), system, pages, places=last.places, written=written)

    def _files(self, columns: Sequence[tuple[str, object]], used: set[str]) -> tuple[list[str], list[str]]:
        """The names of pictures and of clips, as far as the columns tell them apart; each once for all columns."""
        files, clips = list[str](), list[str]()
        own = (*FILES, self.pictures) if self.pictures else FILES
        for wanted in (own, ADDRESSES):
            if files or clips:
                break
            for name, value in columns:
                if name in wanted:
                    used.add(name)
                    text = value.strip() if isinstance(value, str) else ""
                    found = split(text, self.files) if text else names_in(value)
                    before = {*files, *clips}
                    (clips if name in CLIPS else files).extend(one for one in found if one not in before)
        return files, clips

    def _there(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(map(self.files.named, names))


def _written(values: Mapping[str, object]) -> str:
    """The prompt of a row that can't be asked, as far as it has one."""
    return next((value for name in PROMPT if isinstance(value := values.get(name), str)), "")


def _range(value: object) -> str:
    """A cell that says which pages are meant. Raises BatchError."""
    text = text_of(value).strip()
    try:
        if text:
            PageRange.parse(text)
    except UserError as error:
        raise BatchError(f"This row's pages: {error}") from error
    return text


def _look_for_files(id: str, columns: Sequence[tuple[str, object]], files: Lookup, *, texts: Set[str]) -> None:
    """Refuses a table whose row names a file where it isn't looked for: it would be asked about without it. In the
    columns of `texts` a name may be meant as one, but not that of a file that is there."""
    for name, value in columns:
        for text in _texts_in(value):
            plain = len(text) < 1_000 and not any(c.isspace() for c in text) and column_name(name) not in texts
            if _called_media(text) and (plain or files.exists(text)):
                raise BatchError(
                    f"Row {id} names “{named_files.printable(text)}” in the column "
                    f"{named_files.printable(name)}, which isn't read: call the column image, or video."
                )


def _texts_in(value: object, depth: int = DEPTH) -> Iterator[str]:
    """The texts that a cell holds, wherever they stand in it."""
    if isinstance(value, str) and value.strip():
        yield value.strip()
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in within if depth else ():
        yield from _texts_in(one, depth - 1)


def _folder(source: Path, prompt: str, template: Template | None, besides: Path | None) -> Questions:
    """A row for each picture, clip and PDF, by content, and for what is called one; the rest is left out."""
    rows, left_out = list[Row](), list[str]()
    for path in _walked(source, left_out):
        id = _plain(path.relative_to(source).as_posix())
        if besides is not None and named_files.same_file(path, besides):
            continue
        if _is_media(path):
            own = template.filled({"file": id}, f"“{id}”") if template else prompt
            rows.append(_of_file(id, str(path), own, unread=not os.access(path, os.R_OK)))
        else:
            left_out.append(id)
    if not rows and left_out:
        raise BatchError(
            f"There is no picture, clip or PDF in {source.name}; left out: {len(left_out):,} ({few(left_out)})."
        )
    return Questions(tuple(sorted(rows, key=lambda row: row.id)), left_out=tuple(sorted(left_out)))


def _of_file(id: str, path: str, prompt: str, *, unread: bool = False) -> Row:
    name = f"“{named_files.printable(id)}”"
    [asked] = placed([Turn("user", prompt)], [path], [], who=f"The question about {name}")
    if unread:
        why = f"{name} can't be read here: it is a link to nothing, or its permissions don't allow it."
        return Row(id, prompt, asked.media, problem=why)
    return Row(id, asked.text, asked.media, places=asked.places, written=prompt if asked.places else "")


def _walked(source: Path, unread: list[str]) -> Iterator[Path]:
    """The files below a folder, behind links too, each folder once. Folders that can't be read go to `unread`."""

    def skipped(error: OSError) -> None:
        if Path(error.filename) == source:
            raise BatchError(f"The folder {source.name} can't be read: check its permissions.") from error
        unread.append(_plain(Path(error.filename).relative_to(source).as_posix()) + "/")

    been = set[tuple[int, int]]()
    for folder, below, files in os.walk(source, onerror=skipped, followlinks=True):
        about = os.stat(folder)  # noqa: PTH116 - os.walk gives text
        if (about.st_dev, about.st_ino) in been:
            below.clear()
            continue
        been.add((about.st_dev, about.st_ino))
        yield from (Path(folder, name) for name in files)


def _is_media(path: Path) -> bool:
    """Whether a file is a picture, clip or PDF by what it holds or, where it isn't hidden, is called one: then its row
    says what is wrong with it."""
    called = _called_media(path.name) and not path.name.startswith(".")
    try:
        return stat.S_ISREG(path.stat().st_mode) and (_holds_media(path) or called)
    except OSError:
        return called


def _holds_media(path: Path) -> bool:
    """Whether a file is a picture, clip or PDF by what it holds. Raises OSError."""
    with path.open("rb") as file:
        kind = kind_of(file.read(HEAD))
    return kind.media is not None or kind is PDF


def _called_media(name: str) -> bool:
    suffix = Path(name[-20:]).suffix
    return bool(PICTURES.fullmatch(suffix) or MOVING.fullmatch(suffix))


def _plain(name: str) -> str:
    """A name that can be written anywhere: bytes that are no text are shown as their numbers."""
    return name.encode("utf-8", "backslashreplace").decode()
