"""A growing answer as what the page hasn't heard yet: numbered frames, small, and the last one whole.

Pure values. Knows messages; refuses to know who answers and how frames travel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

from ovis_app.conversation import Conversation, Message, Stats, whole

Frame = dict[str, Any]


NOTHING = Message("assistant")


def changes(
    states: Iterator[Conversation], *, begun: Message = NOTHING, budget: Callable[[], int] = lambda: 0
) -> Iterator[list[Frame]]:
    """For each state of a conversation whose last message grows, the frames that lead there from the one before, the
    first from what had `begun`; none where nothing changed. `budget` is that of a thought that can be ended, or 0."""
    before = Message("assistant", begun.text, thinking=begun.thinking)
    for state in states:
        now = state.messages[-1]
        if now.role == "assistant":
            yield [_counted(one, now, budget()) if one["kind"] == "thinking" else one for one in _between(before, now)]
            before = now


def timed(
    states: Iterator[Conversation], *, clock: Callable[[], float], begun: Message = NOTHING
) -> Iterator[Conversation]:  # fmt: skip
    """The same conversations, with the seconds that the last message has been thinking until its figures arrive; what
    had `begun` isn't counted."""
    began: float | None = None
    ended: float | None = None
    for conversation in states:
        last = conversation.messages[-1]
        if last.thinking != begun.thinking and began is None:
            began = clock()
        if last.text != begun.text and began is not None and ended is None:
            ended = clock()
        if began is not None and (last.stats is None or last.stats.thinking_seconds is None):
            seconds = (ended or clock()) - began
            stats = replace(last.stats or Stats(), thinking_seconds=seconds)
            conversation = conversation.replace_last(stats=stats)
        yield conversation


def _counted(frame: Frame, now: Message, budget: int) -> Frame:
    """A frame of a thought, with the tokens that it has so far and those that it may have, where that is known."""
    counts = {"tokens": now.stats.thinking_tokens if now.stats else 0, "budget": budget}
    return frame | {name: count for name, count in counts.items() if count}


def _between(before: Message, now: Message) -> list[Frame]:
    frames: list[Frame] = []
    if before.text and not now.text and now.thinking.startswith(before.thinking + before.text):
        frames.append({"kind": "recast"})
        before = replace(before, thinking=before.thinking + before.text, text="")
    if more := now.thinking[len(before.thinking) :]:
        frames.append({"kind": "thinking", "text": whole(more)})
    if more := now.text[len(before.text) :]:
        frames.append({"kind": "answer", "text": whole(more)})
    if now.status and now.status != before.status:
        frames.append({"kind": "waiting", "note": whole(now.status)})
    if now.finish is not None and before.finish is None:
        frames.append(ended(now))
    return frames


def ended(message: Message) -> Frame:
    """The last frame: how an answer ended, and all of it, whatever was heard before."""
    end = {"kind": "failed", "sentence": whole(message.error)} if message.error else {"kind": "done"}
    return end | {
        "finish": message.finish,
        "text": whole(message.text),
        "thinking": whole(message.thinking),
        "stats": figures(message.stats),
    }


def failed(sentence: str) -> Frame:
    """The last frame of a question that nothing was said to."""
    return ended(Message("assistant", error=sentence, finish="error"))


def figures(stats: Stats | None) -> Frame | None:
    """Figures as JSON, without those that weren't measured. What is to be said of a picture or of a lack of
    memory stands in `remarks`."""
    if stats is None:
        return None
    measured = {name: value for name, value in asdict(stats).items() if value not in (None, 0, "", ())}
    for told in ("seen", "shortage"):
        measured.pop(told, None)
    return measured | ({"remarks": list(map(whole, stats.remarks))} if stats.remarks else {})
