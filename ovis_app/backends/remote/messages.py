"""A conversation as OpenAI's messages: answers plain, pictures before the question or where they stand in it, the
switches' lines on the last.

Earlier turns come out the same each time, so that a server finds what it computed. Refuses to know HTTP and servers.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ovis_app.backends.remote.pictures import Encoded, Pictures
from ovis_app.conversation import Conversation, Media, Message, Seen
from ovis_app.generation import GenerationSettings
from ovis_app.places import ahead, parts
from ovis_app.stop import Stop
from ovis_app.zoo import ModelSpec

TURN_TOKENS = 16  # of a chat format around a message, at most
_SECRET = secrets.token_bytes(16)  # so that a session's id tells nothing of what was said


@dataclass(frozen=True)
class Written:
    """Messages as they are sent. `tokens` is what they take of a context at most; no token is less than a byte."""

    messages: tuple[dict[str, Any], ...]
    tokens: int
    frame_times: tuple[float, ...]  # of the clip attached to the question, in seconds
    seen: tuple[Seen, ...]  # what is attached to the question, and how large


def written(
    conversation: Conversation,
    settings: GenerationSettings,
    spec: ModelSpec,
    pictures: Pictures,
    *,
    note: Callable[[str], None],
    stop: Stop,
) -> Written:
    """The messages of a conversation that ends with a question. Raises MediaError, and Stopped once `stop` is set."""
    messages: list[dict[str, Any]] = []
    tokens = TURN_TOKENS
    times: tuple[float, ...] = ()
    seen: tuple[Seen, ...] = ()
    if settings.system.strip():
        messages.append({"role": "system", "content": settings.system})
    last = len(conversation.messages) - 1
    for number, message in enumerate(conversation.messages):
        if message.role == "assistant" and message.text:  # an answer that never came teaches silence
            messages.append({"role": "assistant", "content": message.text})
        elif message.role == "user":
            several = len(message.media) > 1
            media = []
            for item in message.media:
                note(f"Opening {item.label}")
                media.append(pictures.encode(item, spec, several=several, stop=stop))
            text = spec.worded(message.text, settings) if number == last else message.text
            messages.append({"role": "user", "content": _content(text, message.media, media) if media else text})
            tokens += sum(one.tokens for one in media)
            if number == last:
                times = next((one.times for one in media if one.times), ())
                seen = tuple(map(_seen, message.media, media))
    tokens += sum(len(_text(message).encode()) + TURN_TOKENS for message in messages)
    return Written(tuple(messages), tokens, times, seen)


def _content(text: str, media: Sequence[Media], sent: Sequence[Encoded]) -> list[dict[str, Any]]:
    """The parts of a question. Templates write each on a line of its own, so the ends of these lines aren't sent."""
    places = [item.place for item in media]
    first = ahead(places)
    content = [one.part for one in sent[:first]]
    if first == len(media):
        return [*content, {"type": "text", "text": text}]
    pieces = parts(text, places)
    for number, piece in enumerate(pieces):
        if isinstance(piece, int):
            content.append(sent[piece].part)
            continue
        piece = piece.removeprefix("\n") if number else piece
        piece = piece.removesuffix("\n") if number < len(pieces) - 1 else piece
        content += [{"type": "text", "text": piece}] if piece else []
    return content


def _seen(media: Media, sent: Encoded) -> Seen:
    frames, pictures = (len(sent.times), 1) if media.kind == "video" else (None, media.pictures)
    return Seen(media.label, *sent.seen, *sent.own, pictures, frames, media.missing)


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return str(content if isinstance(content, str) else "".join(part.get("text", "") for part in content))


def session_id(conversation: Conversation) -> str:
    """One name for all turns of a conversation, by which a router sends them to the server that knows them."""
    first: Message = conversation.messages[0]
    told = "\0".join((first.text, *(str(item.path) for item in first.media)))
    return hmac.new(_SECRET, told.encode(), hashlib.sha256).hexdigest()[:32]
