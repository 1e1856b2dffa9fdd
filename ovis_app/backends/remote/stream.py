"""Chunks of a streamed answer to events, and the figures at its end.

Knows what servers put into a chunk and where they differ: usage beside no choice, on the last chunk or on each; a
thought as `reasoning`, `reasoning_content` or raw text. A wrong kind counts as absent. Refuses to know HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ovis_app.backends.remote.server import MOST_CONTEXT
from ovis_app.backends.remote.thought import ThoughtSplitter
from ovis_app.conversation import Finish, Seen, Stats, whole
from ovis_app.generation import Answer, Event, Recast, Thinking

Kind = TypeVar("Kind")
FINISHES: dict[str, Finish] = {"length": "length"}  # all others are an end


class Endless(Exception):
    """More text than the longest answer has."""


@dataclass(frozen=True)
class Usage:
    """The figures that a server gave."""

    prompt: int = 0
    answer: int = 0
    thinking: int = 0
    visual: int = 0
    cached: int = 0


@dataclass
class Reading:
    """One answer as it is read. `most` is the characters that it may have."""

    thinking: bool
    most: int
    clock: Callable[[], float] = time.monotonic
    finish: Finish | None = None
    usage: Usage = field(default_factory=Usage)
    said: bool = False  # whether anything was there to read
    _length: int = 0

    def __post_init__(self) -> None:
        self._splitter = ThoughtSplitter(thinking=self.thinking)
        self._first: float | None = None  # when the first text came
        self._last: float | None = None
        self._thought_from: float | None = None
        self._thought_until: float | None = None

    def events(self, chunk: object) -> list[Event]:
        """What a chunk says. Raises Endless."""
        usage = value(chunk, "usage", object)
        if usage is not None:
            self.usage = usage_of(usage)
        choices = value(chunk, "choices", list)
        if not choices:
            return []
        delta = value(choices[0], "delta", object) or value(choices[0], "message", object)  # of one that doesn't stream
        reasoning = value(delta, "reasoning", str) or value(delta, "reasoning_content", str) or ""
        events = self._splitter.reason(reasoning) + self._splitter.feed(value(delta, "content", str) or "")
        finish = value(choices[0], "finish_reason", str)
        if finish is not None:
            self.finish = FINISHES.get(finish, "end")
            events += self._splitter.flush()
        return self._noted(events)

    def _noted(self, events: list[Event]) -> list[Event]:
        """The same events, once their times were taken."""
        now = self.clock()
        for event in events:
            self.said = True
            self._first, self._last = now if self._first is None else self._first, now
            if isinstance(event, Recast):
                self._thought_from, self._thought_until = self._first, None
            elif isinstance(event, Thinking):
                self._thought_from = now if self._thought_from is None else self._thought_from
            elif self._thought_from is not None and self._thought_until is None:
                self._thought_until = now
            if isinstance(event, Thinking | Answer):
                self._length += len(event.text)
        if self._length > self.most:
            raise Endless
        return events

    def stats(
        self, *, started: float, prompt_tokens: int, frame_times: tuple[float, ...], seen: tuple[Seen, ...],
        dropped: int, engine: str,
    ) -> Stats:  # fmt: skip
        """The figures of the whole answer, asked at `started`; `prompt_tokens` where the server gave none."""
        usage, first, last = self.usage, self._first, self._last
        pace = usage.answer > 1 and first is not None and last is not None and last > first
        thought = self._thought_from
        until = last if self._thought_until is None else self._thought_until
        return Stats(
            prompt_tokens=usage.prompt or prompt_tokens,
            visual_tokens=usage.visual,
            answer_tokens=usage.answer,
            thinking_tokens=usage.thinking,
            first_token_seconds=None if first is None else first - started,
            thinking_seconds=None if thought is None or until is None else until - thought,
            tokens_per_second=(usage.answer - 1) / (last - first) if pace else None,  # type: ignore[operator]
            frame_times=frame_times,
            seen=seen,
            engine=engine,
            dropped_turns=dropped,
            cached_tokens=usage.cached,
        )


def value(of: object, name: str, kind: type[Kind]) -> Kind | None:
    """A field of a parsed answer where it is there and of that kind: no half of a character, no count that is none."""
    found = of.get(name) if isinstance(of, dict) else getattr(of, name, None)
    if not isinstance(found, kind) or isinstance(found, bool):
        return None
    if isinstance(found, int):  # a count of something; what writes it down takes no number of any length
        return found if 0 <= found < MOST_CONTEXT else None  # type: ignore[return-value]
    return whole(found) if isinstance(found, str) else found  # type: ignore[return-value]


def usage_of(usage: object) -> Usage:
    """The figures of a usage object, its parts being optional."""
    prompt, answer = value(usage, "prompt_tokens_details", object), value(usage, "completion_tokens_details", object)
    media = value(prompt, "multimodal_tokens", object)
    return Usage(
        prompt=value(usage, "prompt_tokens", int) or 0,
        answer=value(usage, "completion_tokens", int) or 0,
        thinking=value(answer, "reasoning_tokens", int) or 0,
        # vLLM's way to say it, and ours
        visual=sum(value(media, kind, int) or 0 for kind in ("image", "video"))
        or value(prompt, "image_tokens", int)
        or 0,
        cached=value(prompt, "cached_tokens", int) or 0,
    )
