"""Earlier messages of a call: JSON as OpenAI's chat completions have it -> messages and what they are about.

Knows roles and parts. Refuses to open files: whoever calls says what a file is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ovis_app.conversation import Media, Message
from ovis_app.errors import UserError

MOST = 1_000  # messages, as of a conversation of the page
Attach = Callable[[Sequence[object]], tuple[Media, ...]]


def parsed(given: object, attach: Attach) -> tuple[str, tuple[Message, ...]]:
    """The system prompt and the messages behind it. Raises UserError with a sentence that names the message."""
    if given is None:
        return "", ()
    if not isinstance(given, list) or len(given) > MOST:
        raise UserError(f"history must be a list of at most {MOST:,} messages.")
    system = ""
    messages: list[Message] = []
    for place, one in enumerate(given):
        where = f"history[{place}]"
        if not isinstance(one, dict) or one.get("role") not in ("system", "user", "assistant"):
            raise UserError(f'{where} must have a "role": system, user or assistant.')
        text, files = _content(where, one.get("content"))
        if one["role"] == "system":
            if place or files:
                raise UserError(f"{where} is a system message: it must be the first, and text alone.")
            system = text
        elif files and one["role"] == "assistant":
            raise UserError(f"{where} is an answer, which has no files.")
        else:
            messages.append(Message(one["role"], text, attach(files) if files else ()))
    return system, tuple(messages)


def _content(where: str, content: object) -> tuple[str, list[object]]:
    """The text of a message, and its files as they were given."""
    if isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        raise UserError(f'{where} must have a "content": text, or a list of parts.')
    texts: list[str] = []
    files: list[object] = []
    for part in content:
        kind: Any = part.get("type") if isinstance(part, dict) else None
        inner = part.get(kind) if kind in ("text", "image_url", "video_url") else None
        if kind == "text" and isinstance(inner, str):
            texts.append(inner)
        elif kind != "text" and isinstance(inner, dict) and "url" in inner:
            files.append(inner["url"])
        else:
            raise UserError(f'{where} has a part that is neither "text", "image_url" nor "video_url" with its value.')
    return "\n".join(texts), files
