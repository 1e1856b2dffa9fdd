"""A conversation as Gradio's message dicts: a projection, never read back.

Media travel as paths. The model's words travel as Markdown, for the Chatbot to sanitise; everything else is HTML that
is built and escaped here, so that people see exactly what they typed. Knows no handler and no component.
"""

from __future__ import annotations

import html
import mimetypes
from typing import Any

from ovis_app.conversation import Conversation, Finish, Media, Message, Stats
from ovis_app.media.boxes import found
from ovis_app.ui import boxes

_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}
_ENDS: dict[Finish, str] = {
    "end": "done",
    "length": "reached the limit of new tokens",
    "stopped": "stopped",
    "error": "",
}
_SHOWN_TIMES = 8


def messages(conversation: Conversation) -> list[dict[str, Any]]:
    """Gradio's dicts for the whole conversation."""
    rows: list[dict[str, Any]] = []
    last = len(conversation.messages) - 1
    for index, message in enumerate(conversation.messages):
        if message.role == "user":
            rows += _question(message)
        elif message.role == "assistant":
            rows += _answer(message, last=index == last)
            rows += _marked(conversation, index)
    if conversation.messages and conversation.messages[last].role == "user":
        rows.append(_status("Waiting for a turn"))
    return rows


def plain(text: str) -> str:
    """Text that can be shown and sent: control characters become visible, half characters become marks."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.translate(_PICTURES).encode("utf-8", "replace").decode("utf-8")


def escaped(text: str) -> str:
    """Text as HTML that shows exactly this text."""
    return html.escape(plain(text))


def _question(message: Message) -> list[dict[str, Any]]:
    rows = [{"role": "user", "content": [_file(item, i, len(message.media))]} for i, item in enumerate(message.media)]
    if message.text.strip():
        rows.append(_html("user", f'<div class="question">{escaped(message.text)}</div>'))
    return rows


def _answer(message: Message, *, last: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if message.thinking:
        rows.append(_thought(message))
    if message.text:
        rows.append({"role": "assistant", "content": [{"type": "text", "text": plain(message.text)}]})
    if message.status and not message.text and not message.thinking:
        rows.append(_status(message.status))
    if message.error:
        row = _html("assistant", f'<div class="problem" role="alert">{escaped(message.error)}</div>')
        rows.append(row | {"options": [{"value": "retry", "label": "Retry"}]} if last else row)
    line = figures(message)
    if line:
        rows.append(_html("assistant", line))
    return rows


def _marked(conversation: Conversation, index: int) -> list[dict[str, Any]]:
    message = conversation.messages[index]
    named = found(message.text) if message.finish is not None and "<box>" in message.text else ()
    picture = boxes.picture_of(conversation, index) if named else None
    return [_html("assistant", boxes.overlay(picture, named))] if picture else []


def _thought(message: Message) -> dict[str, Any]:
    going_on = not message.text and message.finish is None
    stats = message.stats or Stats()
    parts = [] if stats.thinking_seconds is None else [seconds(stats.thinking_seconds)]
    if stats.thinking_tokens:
        parts.append(f"{stats.thinking_tokens:,} tokens")
    metadata = {
        "title": "Thinking" if going_on else "Thought",
        "status": "pending" if going_on else "done",
        "log": " · ".join(parts),
    }
    text = {"type": "text", "text": plain(message.thinking)}
    return {"role": "assistant", "content": [text], "metadata": metadata}


def figures(message: Message) -> str:
    """The quiet line under a finished answer, as HTML; empty while it grows."""
    if message.finish is None:
        return ""
    stats = message.stats or Stats()
    parts = []
    if stats.visual_tokens:
        parts.append(f"{stats.visual_tokens:,} visual tokens")
    if stats.first_token_seconds is not None:
        parts.append(f"first token {seconds(stats.first_token_seconds)}")
    if stats.tokens_per_second:
        parts.append(f"{stats.tokens_per_second:,.{0 if stats.tokens_per_second >= 10 else 1}f} tokens/s")
    if stats.answer_tokens:
        parts.append(f"{stats.answer_tokens:,} tokens")
    if stats.engine:
        parts.append(stats.engine)
    if _ENDS[message.finish]:
        parts.append(_ENDS[message.finish])
    if stats.frame_times:
        parts.append(_frames(stats.frame_times))
    parts += map(escaped, stats.remarks)
    if stats.dropped_turns:
        many = f"{stats.dropped_turns} oldest questions" if stats.dropped_turns > 1 else "oldest question"
        parts.append(f"without the {many}, to fit")
    return f'<div class="figures">{" · ".join(parts)}</div>' if parts else ""


def _frames(times: tuple[float, ...]) -> str:
    listed = ", ".join(f"{time:.1f}" for time in times)
    short = ", ".join(f"{time:.1f}" for time in times[:_SHOWN_TIMES]) + (" …" if len(times) > _SHOWN_TIMES else "")
    word = "frame" if len(times) == 1 else "frames"
    return f'<span title="Seconds into the clip: {listed}">{len(times)} {word} at {short} s</span>'


def seconds(value: float) -> str:
    """A duration in as few characters as it deserves."""
    if value < 1:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value) // 60} min {int(value) % 60} s"


def _status(words: str) -> dict[str, Any]:
    return _html("assistant", f'<div class="status" role="status">{escaped(words)}</div>')


def _file(item: Media, index: int, count: int) -> dict[str, Any]:
    """A picture as the component that knows its name for who can't see it, which a message's file would forget. A clip
    that can't be played is a picture of its frames, an animation one that a browser plays."""
    path = item.shown or item.path
    kind = mimetypes.guess_type(path.name)[0] or ""
    plays = item.kind == "video" and not kind.startswith("image/") and (item.shown or not item.moves)
    mime = kind if kind.startswith("video/" if plays else "image/") else f"{item.kind}/*"
    file = {"path": str(path), "mime_type": mime, "orig_name": item.label, "meta": {"_type": "gradio.FileData"}}
    if plays:
        return {"file": file}
    label = plain(f"Image {index + 1}: {item.label}" if count > 1 else item.label)
    if item.kind == "video" and item.shown:
        label = f"Frames of {label}"
    return _component("image", file, alt_text=label)


def _html(role: str, value: str) -> dict[str, Any]:
    return {"role": role, "content": [_component("html", value)]}


def _component(name: str, value: object, **props: object) -> dict[str, Any]:
    return {"type": "component", "component": name, "value": value, "constructor_args": {}, "props": props}
