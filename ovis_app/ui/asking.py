"""A question as the page asks it -> a conversation with checked files, and how to answer it.

What comes from a browser is input: it is checked by the code that checks `/v1`, and a file is only ever one of the
session that asks. Knows the shape of a request; refuses to know Gradio, and who answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ovis_app.api.given_files import GivenFiles, NotHere
from ovis_app.api.openai.fields import ApiError, Fields
from ovis_app.api.openai.files import attached
from ovis_app.api.openai.messages import MOST_MESSAGES, Dialogue, Said
from ovis_app.api.openai.protocol import chat_request
from ovis_app.conversation import Conversation, Detail, Excerpt, Media
from ovis_app.errors import RequestError
from ovis_app.generation import PIXELS_CROSSED, GenerationSettings
from ovis_app.limits import Limits
from ovis_app.media.file_store import FileStore, session_holder
from ovis_app.media.incoming_file import writing
from ovis_app.zoo import ModelSpec

MOST_TEXT = 1_000_000  # characters of a conversation, answers and thoughts too
FULL = (
    "This conversation is as long as one can be: start a new chat, or edit an earlier question to replace what follows."
)
NO_REQUEST = "That is no question: reload the page, and ask again."
SESSION = re.compile(r"[A-Za-z0-9_.-]{8,100}")
MOST_DROPPED, LATEST = 256, 86_400.0  # frames of a clip; seconds into one
NO_PART = "The part of a clip is from a second of it to a later one: choose it again."
SWITCHES = ("cot", "boxes", "split", "drop_old_turns")


class Missing(Exception):
    """Files that this server doesn't have, or has no more, by their numbers in the request."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__("files are missing")
        self.numbers = tuple(numbers)


@dataclass(frozen=True)
class Question:
    """What was asked. `details` are those of the files, in order: how closely each was looked at when it was sent."""

    session: str
    dialogue: Dialogue
    settings: GenerationSettings
    details: tuple[Detail, ...]

    @property
    def holder(self) -> str:
        """Whose the files are."""
        return session_holder(self.session)

    @property
    def has_files(self) -> bool:
        """Whether anything is to be read."""
        return any(said.media for said in self.dialogue.said)


def question(value: object, spec: ModelSpec, limits: Limits) -> Question:
    """The question that a browser sent. Raises RequestError."""
    try:
        asked = Fields.of(value)
        session = session_in(asked.values)
        request = Fields.of(asked.values.get("request"), "request")
        messages = request.values.get("messages")
        if isinstance(messages, list) and len(messages) > MOST_MESSAGES:
            raise RequestError(FULL)
        chat = chat_request(dict(request.values), spec, limits)
        page = Fields(request.values).sub("ovis")
        switches: dict[str, Any] = {name: page.flag(name) or False for name in SWITCHES}
        settings = replace(chat.settings, **switches).check()
        details = tuple(_detail(one) for one in _list(page, "details"))
        dialogue = _placed(chat.dialogue, _list(page, "places"))
    except ApiError as error:
        crossed = error.param == "mm_processor_kwargs.min_pixels" and "max_pixels" in str(error)
        raise RequestError(PIXELS_CROSSED if crossed else str(error)) from error
    if sum(len(said.text) + len(said.reasoning) for said in chat.dialogue.said) > MOST_TEXT:
        raise RequestError(FULL)
    return Question(session, dialogue, settings, details)


def _placed(dialogue: Dialogue, places: list[Any]) -> Dialogue:
    """The messages with each file at the place of its text that is told of it, in order: a row of a table says so,
    whose text is its own to the letter. Raises ApiError."""
    if not all(one is None or (isinstance(one, int) and not isinstance(one, bool) and one >= 0) for one in places):
        raise ApiError(400, "ovis.places must be a list of places in texts.", param="places")
    said, done = list[Said](), 0
    for one in dialogue.said:
        own = tuple(places[done : done + len(one.media)])
        done += len(one.media)
        whole = len(own) == len(one.media) and any(place is not None for place in own)
        said.append(replace(one, places=own) if whole else one)
    return replace(dialogue, said=tuple(said))


def model_in(value: object) -> str:
    """The name of the model that alone shall answer; empty where none is named. Raises RequestError. What else is wrong
    with the question `question` says."""
    request = value.get("request") if isinstance(value, dict) else None
    page = request.get("ovis") if isinstance(request, dict) else None
    try:
        return Fields(page if isinstance(page, dict) else {}, "ovis.").text("model") or ""
    except ApiError as error:
        raise RequestError(str(error)) from error


def session_in(values: Any) -> str:
    """Whose tab it is. Raises RequestError."""
    session = values.get("session") if isinstance(values, dict) else None
    if not isinstance(session, str) or not SESSION.fullmatch(session):
        raise RequestError(NO_REQUEST)
    return session


def answer_in(values: Any) -> str:
    """What a tab calls the answer that it asks for, by which it may end its thought; empty where it doesn't say."""
    name = values.get("answer") if isinstance(values, dict) else None
    return name if isinstance(name, str) and SESSION.fullmatch(name) else ""


def conversation(asked: Question, store: FileStore, limits: Limits, own: Path) -> Conversation:
    """The conversation with its files, checked; what is made for it lies in the folder `own`. Raises Missing and
    MediaError."""
    given = GivenFiles(store, asked.holder, own, limits)
    turns: list[list[tuple[Path, str]]] = []
    details: dict[Path, Detail] = {}
    missing: list[int] = []
    number = 0
    for said in asked.dialogue.said:
        turn = []
        for one in said.media:
            try:
                path, name = given.file(one.url, one.name)
                turn.append((path, name))
                details[path] = asked.details[number] if number < len(asked.details) else Detail()
            except NotHere:
                missing.append(number)
            number += 1
        turns.append(turn)
    if missing:
        raise Missing(missing)
    if any(turns):
        with writing():
            own.mkdir(mode=0o700, exist_ok=True)
    found = attached(asked.dialogue.said, turns, own, limits).conversation
    return Conversation(
        tuple(replace(said, media=tuple(_detailed(one, details) for one in said.media)) for said in found.messages)
    )


def _detailed(media: Media, details: dict[Path, Detail]) -> Media:
    return replace(media, detail=details.get(media.path, Detail()))


def _list(page: Fields, name: str) -> list[Any]:
    value = page.values.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ApiError(400, f"ovis.{name} must be a list.", param=name)
    return value


def _detail(value: object) -> Detail:
    """How closely one file was looked at. Raises ApiError and RequestError."""
    told = Fields.of({} if value is None else value, "ovis.details[]")
    numbers: dict[str, Any] = {
        name: told.values.get(name) for name in ("min_pixels", "max_pixels", "max_partition", "frames")
    }
    detail = GenerationSettings(**numbers, split=told.flag("split") or False).check().detail
    return replace(detail, excerpt=excerpt_in(told.values.get("excerpt")))


def excerpt_in(value: object) -> Excerpt | None:
    """The part of a clip that somebody chose. Raises ApiError and RequestError."""
    if value is None:
        return None
    told = Fields.of(value, "ovis.details[].excerpt").values
    start, end, dropped = told.get("start", 0), told.get("end"), told.get("dropped", [])
    if not isinstance(dropped, list) or len(dropped) > MOST_DROPPED:
        raise RequestError(f"At most {MOST_DROPPED} frames can be left out.")
    if not all(map(_moment, [start, *dropped, *([] if end is None else [end])])) or (end is not None and end <= start):
        raise RequestError(NO_PART)
    return Excerpt(float(start), None if end is None else float(end), tuple(map(float, dropped)))


def _moment(value: object) -> bool:
    """Whether it is seconds into a clip; NaN is in no range."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATEST
