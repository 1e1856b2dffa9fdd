"""One answer: a request's events become a growing conversation, and every failure becomes a sentence in it.

The same road for the page, the command line and programs. Knows no Gradio and no torch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace

from ovis_app.backend import Backend
from ovis_app.conversation import Conversation, Message, Stats
from ovis_app.errors import UNEXPECTED, UserError
from ovis_app.generation import Answer, Done, Event, Recast, Request, Thinking, Waiting
from ovis_app.outcomes import kind_of
from ovis_app.request_id import reported

log = logging.getLogger(__name__)

STARTING = "Starting"
UPDATE_SECONDS = 0.06  # at most about 16 updates a second reach a reader


def reply(backend: Backend, request: Request) -> Generator[Conversation, None, None]:
    """The conversation with the assistant's message growing at its end, from its beginning on where that is continued.
    Never raises for a failed answer: the last value then carries `error`. The first value comes before any work, so
    that closing always stops it."""
    conversation = opened(request.conversation)
    yield conversation
    try:
        request = stamped(replace(request, settings=request.settings.check()))
        conversation = opened(request.conversation)
        with closing(backend.stream(request)) as events:  # type: ignore[type-var]
            for event in events:
                conversation = grown(conversation, event)
                yield conversation
    except UserError as error:
        log.info("answer refused (request %s): %s", request.id, error, exc_info=error.__cause__)
        sentence = reported(str(error), request.id) if kind_of(error) == "unexpected" else str(error)
        yield conversation.replace_last(status="", error=sentence, finish="error")
    except Exception:  # the edge of a turn: whatever happened, the person hears of it and the conversation survives
        log.exception("answer failed (request %s)", request.id)
        yield conversation.replace_last(status="", error=reported(UNEXPECTED, request.id), finish="error")


def opened(conversation: Conversation) -> Conversation:
    """The conversation with the message that is to grow."""
    if conversation.begun is None:
        return conversation.add(Message("assistant", status=STARTING))
    return conversation.replace_last(status=STARTING, error="", finish=None, stats=None)


def stamped(request: Request) -> Request:
    """The request whose question's media carry the settings that they are sent with, but for what each has of its own;
    earlier media keep theirs."""
    messages = request.conversation.messages
    if not messages or messages[-1].role != "user" or not messages[-1].media:
        return request
    media = tuple(replace(item, detail=item.detail.over(request.settings.detail)) for item in messages[-1].media)
    return replace(request, conversation=request.conversation.replace_last(media=media))


def grown(conversation: Conversation, event: Event) -> Conversation:
    """The conversation after one more event."""
    last = conversation.messages[-1]
    match event:
        case Waiting(note):
            return conversation.replace_last(status=note)
        case Thinking(text, tokens):
            stats = replace(last.stats or Stats(), thinking_tokens=tokens) if tokens else last.stats
            return conversation.replace_last(status="", thinking=last.thinking + text, stats=stats)
        case Answer(text):
            return conversation.replace_last(status="", text=last.text + text)
        case Recast():
            return conversation.replace_last(status="", thinking=last.thinking + last.text, text="")
        case Done(finish, stats):
            return conversation.replace_last(status="", finish=finish, stats=stats)


def paced(
    states: Iterator[Conversation], *, clock: Callable[[], float] = time.monotonic, seconds: float = UPDATE_SECONDS
) -> Iterator[Conversation]:
    """The first and the last of `states`, every change of phase, and what `seconds` between updates leave room for."""
    shown, phase, pending = float("-inf"), None, None
    for state in states:
        now, current = clock(), _phase(state.messages[-1])
        if current == phase and now - shown < seconds:
            pending = state
            continue
        yield state
        shown, phase, pending = clock(), current, None
    if pending is not None:
        yield pending


def _phase(message: Message) -> tuple[bool, ...]:
    return bool(message.thinking), bool(message.text), bool(message.error), message.finish is not None


def stopped(conversation: Conversation) -> Conversation:
    """The conversation as it stands after Stop: what was said stays."""
    if not conversation.messages or conversation.messages[-1].role != "assistant":
        return conversation
    last = conversation.messages[-1]
    if last.finish is not None:
        return conversation
    return Conversation((*conversation.messages[:-1], replace(last, status="", finish="stopped")))
