"""What a request attached, as files in a folder of its own: data: URIs are written there, addresses are fetched where
that is allowed, and every file passes the page's gate.

Knows files and addresses; refuses to know HTTP requests and models.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from ovis_app.api.openai.fields import ApiError
from ovis_app.api.openai.messages import MOST_MEDIA, Attachment, Dialogue, Said
from ovis_app.conversation import Conversation, Detail, Media, Message
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import attach_turns, clip_of_frames, turns_with_pages
from ovis_app.media.attach import File
from ovis_app.media.data_uri import DataUri, save
from ovis_app.media.fetch import SECONDS, fetch
from ovis_app.media.incoming_file import writing
from ovis_app.places import in_place
from ovis_app.stop import NEVER, Stop

FETCH_SECONDS = 60.0  # for all addresses of a request
MOST_FRAMES = 256  # of a clip that is sent as pictures
FRAMES = "video/jpeg"  # pictures with commas between them, as vLLM has it
ASIS = Detail()
WEB = ("http://", "https://")
NO_ADDRESSES = "Addresses aren't fetched here: send {name} as a data: URI (--allow-urls lets this server fetch)."
TOO_MANY = f"A conversation takes at most {MOST_MEDIA} pictures, pages among them: send fewer."


@dataclass(frozen=True)
class Attached:
    """A conversation with its files, and sentences about pages that were drawn for the last question."""

    conversation: Conversation
    notes: tuple[str, ...] = ()


@dataclass
class Fetches:
    """What one request may still fetch: so many bytes, all files together, until then."""

    left: int
    ends: float  # a time.monotonic()

    def save(self, one: Attachment, path: Path, most: int, stop: Stop) -> None:
        """Raises MediaError, and Stopped once `stop` is set."""
        seconds = min(SECONDS, max(self.ends - time.monotonic(), 0.0))
        fetch(one.url, path, name=one.name, most=min(most, self.left), seconds=seconds, stop=stop)
        self.left -= path.stat().st_size


def conversation(
    dialogue: Dialogue, detail: Detail, folder: Path, limits: Limits, *, allow_urls: bool, stop: Stop
) -> Attached:
    """The dialogue with what it attached as checked files in `folder`. Raises ApiError, MediaError, and Stopped once
    `stop` is set."""
    turns, frames = [], {}
    fetches = Fetches(limits.video_bytes, time.monotonic() + FETCH_SECONDS) if allow_urls else None
    if any(said.media for said in dialogue.said):
        with writing():
            folder.mkdir(mode=0o700)
    for said in dialogue.said:
        files = []
        for one in said.media:
            path = folder / one.name.replace(" ", "-")
            count = _write(one, path, limits, fetches, stop)
            if count:
                frames[path] = count
            files.append((path, one.name))
        turns.append(files)
    stop.check()
    return attached(dialogue.said, turns, folder, limits, detail=detail, frames=frames, stop=stop)


def attached(
    said: Sequence[Said], turns: Sequence[Sequence[File]], folder: Path, limits: Limits, *, detail: Detail = ASIS,
    frames: Mapping[Path, int] = MappingProxyType({}), stop: Stop = NEVER,
) -> Attached:  # fmt: skip
    """What was said, each with its files once they are checked, and with pages of documents as pictures in `folder`;
    `frames` are those of clips that came as frames. Raises MediaError, and Stopped."""
    grouped, notes = turns_with_pages(turns, folder, limits, stop=stop)
    paged = [[file for group in groups for file in group] for groups in grouped]
    if sum(map(len, paged)) > MOST_MEDIA:
        raise MediaError(TOO_MANY)
    media = attach_turns(paged, limits)
    counts = [[len(group) for group in groups] for groups in grouped]
    messages = (_message(*one, detail, frames) for one in zip(said, media, counts, strict=True))
    return Attached(Conversation(tuple(messages)), tuple(notes))


def _message(
    said: Said, media: Sequence[Media], counts: Sequence[int], detail: Detail, frames: Mapping[Path, int]
) -> Message:
    """Of a clip that came as frames the model sees all of them."""
    detailed = (replace(one, detail=replace(detail, frames=frames.get(one.path, detail.frames))) for one in media)
    message = Message(said.role, said.text, tuple(detailed), thinking=said.reasoning)
    return in_place(message, said.places, counts) if said.places else message


def is_address(one: Attachment) -> bool:
    """Whether a file would have to be fetched."""
    return one.url[:8].lower().startswith(WEB)


def _write(one: Attachment, path: Path, limits: Limits, fetches: Fetches | None, stop: Stop) -> int:
    """Puts what is attached at `path`. The number of frames where it came as frames, else 0."""
    if is_address(one):
        if fetches is None:
            raise ApiError(400, NO_ADDRESSES.format(name=one.name), param="messages")
        fetches.save(one, path, _most(one, limits), stop)
        return 0
    given = DataUri.of(one.url, one.name)
    if given.kind != FRAMES:
        save(given.data, path, one.name, limits)
        return 0
    pictures = given.data.split(",")
    if len(pictures) > MOST_FRAMES:
        raise ApiError(400, f"{one.name} has more than {MOST_FRAMES} frames: send fewer.", param="messages")
    paths = [path.with_name(f"{path.name}-{number}") for number in range(len(pictures))]
    for place, picture in zip(paths, pictures, strict=True):
        save(picture, place, one.name, limits)
    clip_of_frames(paths, path, one.name, limits)
    return len(paths)


def _most(one: Attachment, limits: Limits) -> int:
    return {"video": limits.video_bytes, "image": limits.image_bytes, "file": limits.document_bytes}[one.kind]
