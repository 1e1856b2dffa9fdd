"""What a question would take of the context, told before it is asked: tokens by file, and which file is seen too small.

The request is the one that would be asked, but for its files: each is told by its size, so none has to be here. What
comes is input and is only reckoned with. Knows sizes and weights; refuses to know files, and how a model counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ovis_app.api.openai.messages import Attachment, Said
from ovis_app.backend import FileWeight, Weight
from ovis_app.conversation import Conversation, Detail, Media, Message, Seen, Size
from ovis_app.errors import RequestError
from ovis_app.limits import Limits
from ovis_app.media import pieces
from ovis_app.places import in_place
from ovis_app.ui.asking import NO_REQUEST, Question
from ovis_app.zoo import ModelSpec

TOLD = re.compile(r"size:([1-9][0-9]{0,6})x([1-9][0-9]{0,6})(?:x([1-9][0-9]{0,6}))?")
NO_FILE = Path()  # nothing is opened by it


def told(asked: Question, limits: Limits) -> Conversation:
    """The conversation that a question stands in, its files told by their sizes. Raises RequestError."""
    details = iter(asked.details)
    each = [(said, [next(details, Detail()) for _ in said.media]) for said in asked.dialogue.said]
    return Conversation(tuple(_message(said, own, limits) for said, own in each))


def _message(said: Said, details: Sequence[Detail], limits: Limits) -> Message:
    media = tuple(
        Media(one.kind if one.kind == "video" else "image", NO_FILE, one.name, detail, told=_size(one, limits))
        for one, detail in zip(said.media, details, strict=True)
    )
    message = Message(said.role, said.text, media, thinking=said.reasoning)
    return in_place(message, said.places, [1] * len(media)) if said.places else message


def _size(one: Attachment, limits: Limits) -> Size:
    """What stands where a request has the address of a file. Raises RequestError."""
    found = TOLD.fullmatch(one.url)
    size = Size(*(int(number) for number in found.groups("1"))) if found else None
    if size is None or size.width * size.height > limits.image_pixels:
        raise RequestError(NO_REQUEST)
    return size


def as_json(weight: Weight, asked: Conversation, spec: ModelSpec, limits: Limits) -> dict[str, Any]:
    """A weight for the page: of each file also in how many pieces it would be seen better, where it is very long and
    seen small."""
    media = asked.messages[asked.last_user() or 0].media
    most = limits.files_per_turn // max(len(media), 1) if spec.several_images else 1
    files = [
        {
            **asdict(file),
            "size": [one.told.width, one.told.height],
            "split": 1 if one.detail.split else _better(file, one.told, most),
        }
        for file, one in zip(weight.files, media, strict=True)
        if one.told is not None
    ]
    return {**asdict(weight), "files": files}


def _better(file: FileWeight, size: Size, most: int) -> int:
    """Into how many pieces a picture should be split; 1 where it is seen well."""
    small = Seen("", *file.seen, size.width, size.height).small
    return pieces(size.width, size.height, most=most) if small and size.frames == 1 else 1
