"""What came of what people asked, as plain values for whoever counts it or writes it down.

Knows events and kinds of errors. Refuses to know who hears of it, and holds no word of a question or an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from ovis_app.conversation import Finish, Stats
from ovis_app.errors import FAILED, OUT_OF_MEMORY, TOO_LONG, Busy, MediaError, RequestError, UserError
from ovis_app.generation import Answer, Done, Request, Thinking
from ovis_app.request_id import NO_ID, RequestId

T = TypeVar("T")
Clock = Callable[[], float]

Kind = Literal["request", "media", "busy", "memory", "deadline", "backend", "unexpected"]
What = Literal["answer", "look", "upload"]

# Workers pass sentences across, not what was raised.
_SAID: dict[str, Kind] = {FAILED: "unexpected", OUT_OF_MEMORY: "memory", TOO_LONG: "deadline"}


@dataclass(frozen=True)
class Outcome:
    """How one thing that was asked for ended: an answer, a look at how a picture is seen, or an upload that was
    refused."""

    what: What
    error: Kind | None = None  # why there is none
    finish: Finish | None = None  # of an answer; "stopped" where whoever asked has left
    seconds: float = 0.0  # that it took, waiting included
    first_token_seconds: float | None = None  # until there was something to read, waiting included
    files: int = 0  # that were attached to the question
    request: RequestId = NO_ID
    stats: Stats = field(default_factory=Stats)  # of an answer that came to its end


Tell = Callable[[Outcome], None]


def nobody(_: Outcome) -> None:
    """For where nobody listens."""


def kind_of(error: BaseException) -> Kind:
    """What kind of failure it was, in a word."""
    match error:
        case Busy():
            return "busy"
        case RequestError():
            return "request"
        case MediaError():
            return "media"
        case UserError():
            return _SAID.get(str(error), "backend")
    return "unexpected"


def refused(error: BaseException, request: RequestId, what: What = "answer") -> Outcome:
    """Of what was asked for in such a way that it never came into the line."""
    return Outcome(what, kind_of(error), "error" if what == "answer" else None, request=request)


def told(
    events: Iterator[T], request: Request, tell: Tell, *, what: What = "answer", clock: Clock = time.monotonic
) -> Iterator[T]:
    """The events; once they end, or nobody wants more, `tell` hears what came of them."""
    began = clock()
    asked = request.conversation.messages[-1:]
    files = sum(len(message.media) for message in asked)
    outcome = Outcome(what, finish="stopped" if what == "answer" else None, files=files, request=request.id)
    try:
        with closing(events):  # type: ignore[type-var]
            for event in events:
                if isinstance(event, Thinking | Answer) and event.text and outcome.first_token_seconds is None:
                    outcome = replace(outcome, first_token_seconds=clock() - began)
                if isinstance(event, Done):
                    outcome = replace(outcome, finish=event.finish, stats=event.stats)
                yield event
    except Exception as error:
        outcome = replace(outcome, finish="error" if what == "answer" else None, error=kind_of(error))
        raise
    finally:
        tell(replace(outcome, seconds=clock() - began))
