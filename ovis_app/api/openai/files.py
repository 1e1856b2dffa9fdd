"""What a request attached, as files in a folder of its own: data: URIs are written there, addresses are fetched where
that is allowed, and every file passes the page's gate.

Knows files and addresses; refuses to know HTTP requests and models.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ovis_app.api.openai.fields import ApiError
from ovis_app.api.openai.messages import Attachment, Dialogue, Said
from ovis_app.conversation import Conversation, Detail, Media, Message
from ovis_app.limits import Limits
from ovis_app.media import attach_turns, clip_of_frames
from ovis_app.media.fetch import SECONDS, fetch
from ovis_app.media.incoming_file import writing
from ovis_app.stop import Stop

FETCH_SECONDS = 60.0  # for all addresses of a request
MOST_FRAMES = 256  # of a clip that is sent as pictures
FRAMES = "video/jpeg"  # pictures with commas between them, as vLLM has it
WEB = ("http://", "https://")
NO_ADDRESSES = "Addresses aren't fetched here: send {name} as a data: URI (--allow-urls lets this server fetch)."
NOT_DATA = "{name} must be a data: URI in base64, which begins as data:image/png;base64, does."


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
) -> Conversation:
    """The dialogue with what it attached as checked files in `folder`. Raises ApiError, MediaError, and Stopped once
    `stop` is set."""
    files, frames = [], {}
    fetches = Fetches(limits.video_bytes, time.monotonic() + FETCH_SECONDS) if allow_urls else None
    if any(said.media for said in dialogue.said):
        with writing():
            folder.mkdir(mode=0o700)
    for said in dialogue.said:
        paths = []
        for one in said.media:
            path = folder / one.name.replace(" ", "-")
            count = _write(one, path, limits, fetches, stop)
            if count:
                frames[path] = count
            paths.append((path, one.name))
        files.append(paths)
    stop.check()
    turns = attach_turns(files, limits)
    return Conversation(
        tuple(_message(said, turn, detail, frames) for said, turn in zip(dialogue.said, turns, strict=True))
    )


def _message(said: Said, media: Sequence[Media], detail: Detail, frames: dict[Path, int]) -> Message:
    """Of a clip that came as frames the model sees all of them."""
    detailed = (replace(one, detail=replace(detail, frames=frames.get(one.path, detail.frames))) for one in media)
    return Message(said.role, said.text, tuple(detailed), thinking=said.reasoning)


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
    head, comma, data = one.url.partition(",")
    if not comma or not head.lower().startswith("data:") or not head.lower().endswith(";base64"):
        raise ApiError(400, NOT_DATA.format(name=one.name), param="messages")
    if head[5:].partition(";")[0].lower() != FRAMES:
        _store(path, data, one.name)
        return 0
    pictures = data.split(",")
    if len(pictures) > MOST_FRAMES:
        raise ApiError(400, f"{one.name} has more than {MOST_FRAMES} frames: send fewer.", param="messages")
    paths = [path.with_name(f"{path.name}-{number}") for number in range(len(pictures))]
    for place, picture in zip(paths, pictures, strict=True):
        _store(place, picture, one.name)
    clip_of_frames(paths, path, one.name, limits)
    return len(paths)


def _most(one: Attachment, limits: Limits) -> int:
    return limits.video_bytes if one.kind == "video" else limits.image_bytes


def _store(path: Path, data: str, name: str) -> None:
    decoded = _decoded(data, name)
    with writing():
        path.write_bytes(decoded)


def _decoded(data: str, name: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, f"The base64 of {name} is damaged: encode it again.", param="messages") from error
