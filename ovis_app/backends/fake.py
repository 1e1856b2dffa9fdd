"""A scripted backend: answers without a model, for tests, benchmarks and looking at the page.

The question steers it: "think" adds a thought, "slow" waits between tokens, "fail" raises, "crash" breaks unexpectedly,
"long" answers at length. Anything else is echoed, with the names of what was attached.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ovis_app import zoo
from ovis_app.conversation import Stats
from ovis_app.generation import Answer, BackendError, Done, Event, Request, Thinking, Waiting
from ovis_app.zoo import ModelSpec


@dataclass
class FakeBackend:
    """`delay` is seconds a token; `tokens` is the length of a long answer. `live` counts streams that are open."""

    delay: float = 0.0
    tokens: int = 400
    live: int = 0
    requests: list[Request] = field(default_factory=list)

    def models(self) -> list[ModelSpec]:
        return [zoo.MINI]

    def status(self) -> str:
        return "ready"

    def close(self) -> None:
        """Nothing to end."""

    def stream(self, request: Request) -> Iterator[Event]:
        request.settings.check()
        self.requests.append(request)
        self.live += 1
        start = time.monotonic()
        try:
            yield Waiting("Reading the question")
            yield from self._script(request, start)
        finally:
            self.live -= 1

    def _script(self, request: Request, start: float) -> Iterator[Event]:
        question = request.conversation.messages[-1]
        words = question.text.lower()
        if "fail" in words:
            raise BackendError("The model is out of memory: lower max pixels and try again.")
        if "crash" in words:
            raise RuntimeError("scripted crash")
        pause = 0.05 if "slow" in words else self.delay
        thinks = request.settings.thinking or "think" in words
        thought = ["I", "look", "at", "the", "picture.", "I", "see", "it."] if thinks else []
        names = ", ".join(media.label for media in question.media)
        told = f"You said: {question.text}" + (f" (with {names})" if names else "")
        pieces = [f"word{i}" for i in range(self.tokens)] if "long" in words or "slow" in words else told.split(" ")
        for piece in thought:
            yield Thinking(piece + " ")
            _rest(pause)
        thinking_seconds = time.monotonic() - start
        for piece in pieces:
            yield Answer(piece + " ")
            _rest(pause)
        seconds = max(time.monotonic() - start, 1e-6)
        count = len(thought) + len(pieces)
        yield Done(
            "end",
            Stats(
                prompt_tokens=12 + 64 * len(question.media),
                visual_tokens=64 * len(question.media),
                answer_tokens=count,
                thinking_tokens=len(thought),
                first_token_seconds=0.01,
                thinking_seconds=thinking_seconds if thought else None,
                tokens_per_second=count / seconds,
            ),
        )


def _rest(seconds: float) -> None:
    if seconds:
        time.sleep(seconds)
