"""Boxes that an answer names, drawn over the picture that it is about.

Knows HTML. Opens no picture: the browser lays the frames over it.
"""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from ovis_app.conversation import Conversation, Media
from ovis_app.media.boxes import Box


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
    address = "gradio_api/file=" + quote(str(picture.shown or picture.path))
    alternative = escape(f"{picture.label} with {names} marked")
    return f'<div class="boxes"><img src="{address}" alt="{alternative}">{frames}</div>'
