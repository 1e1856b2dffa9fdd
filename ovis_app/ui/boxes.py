"""Boxes that an answer names, drawn over the picture that it is about.

Knows the notation `<ref>name</ref><box>(x1,y1),(x2,y2)</box>` with shares of the picture's width and height. Opens no
picture: the browser lays the frames over it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from ovis_app.conversation import Conversation, Media

MOST = 32  # boxes drawn of one answer
# Bounded and possessive (no step back): whatever a model writes is read in time that grows with its length only.
_GAP = r"\s{0,16}+"
_NUMBER = rf"{_GAP}((?:\d{{1,9}}+(?:\.\d{{1,20}}+)?+)|\.\d{{1,20}}+){_GAP}"
_POINT = rf"\({_NUMBER},{_NUMBER}\)"
_BOX = re.compile(
    rf"(?:<ref>(?P<name>[^<]{{0,80}}+)</ref>{_GAP})?<box>{_GAP}{_POINT}{_GAP},{_GAP}{_POINT}{_GAP}</box>", re.ASCII
)


@dataclass(frozen=True)
class Box:
    """A frame in shares of the picture: left, top, right and bottom from 0 to 1."""

    name: str
    left: float
    top: float
    right: float
    bottom: float


def found(text: str) -> tuple[Box, ...]:
    """The boxes that a text names, in its order. What lies outside the picture is no box."""
    boxes = []
    for match in list(_BOX.finditer(text))[:MOST]:
        left, top, right, bottom = (float(match.group(i)) for i in range(2, 6))
        if left < right <= 1 and top < bottom <= 1:
            boxes.append(Box((match.group("name") or "").strip(), left, top, right, bottom))
    return tuple(boxes)


def picture_of(conversation: Conversation, index: int) -> Media | None:
    """The picture that the answer at `index` is about: the only one of the latest question before it with media."""
    for message in reversed(conversation.messages[:index]):
        if message.media:
            only = message.media[0]
            return only if len(message.media) == 1 and only.kind == "image" else None
    return None


def overlay(picture: Media, boxes: tuple[Box, ...]) -> str:
    """The picture with its boxes, as HTML."""
    frames = "".join(
        f'<span class="box" style="left:{box.left:.2%};top:{box.top:.2%};width:{box.right - box.left:.2%};'
        f'height:{box.bottom - box.top:.2%}">{f"<b>{escape(box.name)}</b>" if box.name else ""}</span>'
        for box in boxes
    )
    names = ", ".join(box.name for box in boxes if box.name) or "boxes"
    address = "gradio_api/file=" + quote(str(picture.path))
    alternative = escape(f"{picture.label} with {names} marked")
    return f'<div class="boxes"><img src="{address}" alt="{alternative}">{frames}</div>'
