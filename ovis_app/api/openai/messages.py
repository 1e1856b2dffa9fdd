"""Messages as OpenAI's chat completions write them: roles, text, and the addresses of pictures, clips and documents.

Pure values. Refuses to know what stands behind an address: `files` turns them into files.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ovis_app.api.openai.fields import ApiError, Fields, wrong
from ovis_app.limits import Limits
from ovis_app.places import Place, joined

MOST_MESSAGES = 1000
MOST_MEDIA = 64  # pictures and clips of a whole conversation; the context holds fewer
SYSTEM = ("system", "developer")
NO_MEDIA = "Pictures, clips and documents stand in messages of the role user."


@dataclass(frozen=True)
class Attachment:
    """A picture, clip or document where a message names it: a data: URI, or an address."""

    kind: Literal["image", "video", "file"]
    url: str
    name: str  # what sentences call it: "image 2"


@dataclass(frozen=True)
class Said:
    """One message. Its media stand at `places` of its text, or before it where there are none."""

    role: Literal["user", "assistant"]
    text: str
    media: tuple[Attachment, ...] = ()
    reasoning: str = ""
    places: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Dialogue:
    """All of them; `system` is the text of those that stand before the others."""

    said: tuple[Said, ...]
    system: str = ""


def parse(value: object, limits: Limits, *, continues: bool = False) -> Dialogue:
    """The messages of a request; the last one is the beginning of an answer where that `continues`. Raises ApiError."""
    if not isinstance(value, list) or not value:
        raise wrong("messages", "a list of one or more messages")
    if len(value) > MOST_MESSAGES:
        raise wrong("messages", f"a list of at most {MOST_MESSAGES:,} messages")
    system: list[str] = []
    said: list[Said] = []
    numbers = itertools.count(1)
    for number, one in enumerate(value):
        where = f"messages[{number}]"
        message = Fields.of(one, where)
        role = message.text("role")
        if role not in (*SYSTEM, "user", "assistant"):
            raise wrong(f"{where}.role", "system, developer, user or assistant")
        text, media, places = _content(message, where, numbers)
        if media and role != "user":
            raise ApiError(400, NO_MEDIA, param=f"{where}.content")
        if len(media) > limits.files_per_turn:
            sentence = f"One message takes at most {limits.files_per_turn} pictures: send fewer."
            raise ApiError(400, sentence, param=f"{where}.content")
        if role in SYSTEM and said:
            raise ApiError(400, "A system message stands before all others.", param=where)
        if role in SYSTEM:
            system.append(text)
        else:
            said.append(Said(role, text, media, _reasoning(message), places))  # type: ignore[arg-type]
    if sum(len(one.media) for one in said) > MOST_MEDIA:
        raise ApiError(400, f"A conversation takes at most {MOST_MEDIA} pictures: send fewer.", param="messages")
    _check_end(said, continues=continues)
    return Dialogue(tuple(said), "\n\n".join(system))


def _check_end(said: Sequence[Said], *, continues: bool) -> None:
    roles = [one.role for one in said[-2:]]
    if not continues and roles[-1:] != ["user"]:
        raise ApiError(400, "The last message must be the user's: there is nothing to answer.", param="messages")
    if continues and (roles != ["user", "assistant"] or not (said[-1].text or said[-1].reasoning)):
        sentence = "To continue an answer, its beginning must be the last message, behind the user's."
        raise ApiError(400, sentence, param="messages")


def _reasoning(message: Fields) -> str:
    return message.text("reasoning") or message.text("reasoning_content") or ""


def _content(
    message: Fields, where: str, numbers: Iterator[int]
) -> tuple[str, tuple[Attachment, ...], tuple[Place, ...]]:
    """The text, and what is attached, and where; nothing at all is an assistant's alone."""
    content = message.values.get("content")
    if isinstance(content, str):
        return content, (), ()
    if content is None and message.values.get("role") == "assistant":
        return "", (), ()
    if not isinstance(content, list) or not content:
        raise wrong(f"{where}.content", "text, or a list of parts")
    texts: list[str | None] = []
    media: list[Attachment] = []
    for number, one in enumerate(content):
        part = Fields.of(one, f"{where}.content[{number}]")
        kind = part.text("type")
        if kind == "text":
            texts.append(part.text("text") or "")
            continue
        texts.append(None)
        if kind in ("image_url", "video_url"):
            word: Literal["image", "video"] = "image" if kind == "image_url" else "video"
            media.append(Attachment(word, _url(part, kind), f"{word} {next(numbers)}"))
        elif kind == "file":
            media.append(Attachment("file", _file(part), f"file {next(numbers)}"))
        else:
            raise wrong(f"{part.where}type", "text, image_url, video_url or file")
    text, places = joined(texts)
    return text, tuple(media), places


def _file(part: Fields) -> str:
    """What a part of the type `file` holds. It has names too, which nobody needs."""
    file = part.sub("file")
    if data := file.text("file_data"):
        return data
    raise wrong(f"{file.where}file_data", "a data: URI, which begins as data:application/pdf;base64, does")


def _url(part: Fields, kind: str) -> str:
    given: Any = part.values.get(kind)
    url = given if isinstance(given, str) else Fields.of(given, f"{part.where}{kind}").text("url")
    if not url:
        raise wrong(f"{part.where}{kind}.url", "a data: URI")
    return url
