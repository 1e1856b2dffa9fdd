"""What a row says: plain cells, ms-swift's `messages`, LLaVA's `conversations`, and which file goes with which turn.

Whatever can't be understood raises BatchError with a sentence about this row. Opens nothing.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ovis_app.errors import BatchError
from ovis_app.named_files import Lookup
from ovis_app.places import TAG, Place, joined, miscounted, untagged

ROLES = {"user": "user", "human": "user", "system": "system"}
ROLES |= dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt"), "assistant")
NAMES = ("path", "file_name", "filename", "file", "image", "video", "audio", "image_url", "video_url", "url")
DEPTH = 4  # of lists within lists
LONGEST_CELL = 20_000  # characters of a cell that is read as a list
QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")  # a text within Python's or JSON's
MARKS = re.compile(r"(?:[][(){},:.\s\d]|None|True|False)*")  # what may stand between them
NO_NAME = "This row has a file that isn't given by its name: write where the file lies."
NO_MESSAGES = "This row's messages can't be read: each needs a role (user, assistant, system) and a content."
NO_QUESTION = "This row's messages hold no question: one of a user is missing."


@dataclass(frozen=True)
class Turn:
    """One message of a row, with the names of its files and, where it says so, their places in its text."""

    role: Literal["user", "assistant"]
    text: str
    media: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()


def text_of(value: object) -> str:
    """A cell as text; half characters are replaced, since nothing could write them."""
    if value is None or value != value:  # NaN, as an empty cell is written by some
        return ""
    if not isinstance(value, str | int | float):
        raise BatchError("This row's prompt is no text: write it as a string.")
    return str(value).encode("utf-8", "replace").decode()


def names_in(value: object, depth: int = DEPTH) -> list[str]:
    """The files that a cell of JSON names."""
    if isinstance(value, str):
        return [value.strip()] if value.strip() else []
    if isinstance(value, list) and depth:
        return [name for one in value for name in names_in(one, depth - 1)]
    if isinstance(value, dict) and depth and any(value.values()):
        return names_in(next((value[key] for key in NAMES if value.get(key)), 0), depth - 1)
    if value is None or value != value or value in ([], {}) or (isinstance(value, dict) and not any(value.values())):
        return []
    raise BatchError(NO_NAME)


def split(text: str, files: Lookup) -> list[str]:
    """The files that a cell of text names: one, a list as it is written in JSON or Python, or several with `;`."""
    if text.startswith("[") and len(text) < LONGEST_CELL:
        for read in (json.loads, _python):
            try:
                return names_in(read(text))
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
    if files.exists(text):
        return [text]
    for separator in ";|,\n":
        parts = [part.strip() for part in text.split(separator) if part.strip()]
        if len(parts) > 1 and (separator == ";" or all(files.exists(part) for part in parts)):
            return parts
    return [text]


def _python(text: str) -> object:
    """A list as Python writes it. Raises ValueError where there is more in it than names."""
    if not MARKS.fullmatch(QUOTED.sub("", text)):
        raise ValueError("no list of names")
    return ast.literal_eval(text)


def said(value: object) -> tuple[str, list[Turn]]:
    """The system prompt and the turns of `messages`, up to the last question: what was answered to it isn't shown."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BatchError(NO_MESSAGES) from error
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BatchError(NO_MESSAGES)
    system, turns = "", list[Turn]()
    for item in value:
        role = ROLES.get(str(item.get("role", item.get("from"))).lower())
        text, media, places = _content(item.get("content", item.get("value")))
        if role == "system" and not turns:
            system = text
        elif role == "user" or role == "assistant":
            turns.append(Turn(role, text, tuple(media), places))  # type: ignore[arg-type]
        else:
            raise BatchError(NO_MESSAGES)
    while turns and turns[-1].role == "assistant":
        turns.pop()
    if not turns:
        raise BatchError(NO_QUESTION)
    return system, turns


def _content(value: object) -> tuple[str, list[str], tuple[Place, ...]]:
    if not isinstance(value, list):
        return text_of(value), [], ()
    texts, files = list[str | None](), list[str]()
    for part in value:
        if not isinstance(part, dict):
            raise BatchError(NO_MESSAGES)
        if part.get("type", "text") == "text":
            texts.append(text_of(part.get("text")))
        elif not (names := names_in({key: part[key] for key in NAMES if key in part})):
            raise BatchError(NO_NAME)
        else:
            files += names
            texts += [None] * len(names)
    text, places = joined(texts)
    return text, files, places


def history(value: object) -> list[Turn]:
    """Earlier turns as pairs of a question and its answer."""
    pairs = value or []
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise BatchError("This row's history can't be read: write pairs of a question and its answer.")
    return [turn for asked, told in pairs for turn in (Turn("user", text_of(asked)), Turn("assistant", text_of(told)))]


def placed(
    turns: Sequence[Turn], files: Sequence[str], clips: Sequence[str], *, who: str = "This row"
) -> list[Turn]:  # fmt: skip
    """The turns with their files: each where its tag stands, in order, or all before the first question where there are
    no tags. Raises BatchError, which begins with `who`, where there are more tags or fewer."""
    tagged = [turn.role == "user" and not turn.media and bool(TAG.search(turn.text)) for turn in turns]
    pictures, left, out = list(files), list(clips), list(turns)
    if not any(tagged):
        first = next(number for number, turn in enumerate(turns) if turn.role == "user")
        out[first] = _with_files(turns[first], [*pictures, *left])
        return out
    tags = sum(len(TAG.findall(turn.text)) for turn, has_tags in zip(turns, tagged, strict=True) if has_tags)
    if tags != len(files) + len(clips):
        raise BatchError(f"{who} {miscounted(tags, len(files) + len(clips))}")
    for number, turn in enumerate(turns):
        if tagged[number]:
            queues = ((left or pictures) if tag == "video" else (pictures or left) for tag in TAG.findall(turn.text))
            text, places = untagged(turn.text)
            out[number] = Turn(turn.role, text, tuple(queue.pop(0) for queue in queues), places)
    return out


def _with_files(turn: Turn, files: Sequence[str]) -> Turn:
    """The turn with files that have no place: before its text."""
    if turn.places:
        return replace(turn, media=(*files, *turn.media), places=(*[None] * len(files), *turn.places))
    return replace(turn, media=(*turn.media, *files))
