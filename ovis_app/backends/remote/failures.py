"""What goes wrong with a server, as one sentence each: what is the matter and what to do.

A sentence never holds a key or a page: what a server says is shown on one line, cut short and without the key that it
was sent. Knows the SDK's errors; refuses to know threads and conversations.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError

from ovis_app.backends.remote.server import ServedModel, Server, served_model, shown
from ovis_app.backends.remote.stream import Endless
from ovis_app.errors import BackendError, Busy, RequestError

MOST_TOLD = 300  # characters of what a server says
PASSING = (408, 429, 502, 503, 504)  # states that may be over in a moment
LONG = re.compile(r"context length|context window|maximum context|context_length", re.IGNORECASE)


class BrokenOff(Exception):
    """The answer ended before its end."""


class Silent(Exception):
    """No token came for as long as anybody waits."""


class NoStream(Exception):
    """What came is no stream of an answer; its text is the content type."""


class NoList(Exception):
    """What came is no list of models, or an empty one."""


# What a server that isn't one, or isn't well, makes the SDK and us raise; all else is a mistake of ours.
RAISED = (APIError, BrokenOff, Silent, NoStream, Endless, ValueError, RecursionError)


class TooLong(Exception):
    """The messages don't fit the context. `tokens` of them, where that is known."""

    def __init__(self, tokens: int = 0) -> None:
        super().__init__()
        self.tokens = tokens


def passing(error: Exception) -> bool:
    """Whether the same request may well go through in a moment."""
    if isinstance(error, APIStatusError):
        return error.status_code in PASSING
    if isinstance(error, APITimeoutError) or _of_tls(error):
        return False
    return isinstance(error, APIConnectionError | BrokenOff)


def too_long(error: Exception) -> bool:
    """Whether the server says that the messages don't fit its context."""
    if not isinstance(error, APIError) or getattr(error, "status_code", 400) != 400:
        return False
    return error.param == "input_tokens" or bool(LONG.search(f"{error.code} {_message(error)}"[:2000]))


def told(error: APIError, server: Server) -> str:
    """What the server says of it, on a line; nothing where that is a page, or nothing."""
    message = _message(error)
    if "<" in message[:100] and "html" in message[:1000].lower():
        return ""
    return shown(message.replace(server.key, "…") if server.key else message, MOST_TOLD)


def _message(error: APIError) -> str:
    body: Any = error.body
    if isinstance(body, dict):
        body = next((body[name] for name in ("message", "detail", "error") if body.get(name)), "")
    return str(body if body is not None else "")


def refusal(error: Exception, model: ServedModel) -> BackendError:
    """The sentence for whatever of RAISED came of a question."""
    name = model.server.name
    if isinstance(error, APIStatusError):
        kind = {400: RequestError, 413: RequestError, 422: RequestError, 429: Busy}.get(error.status_code, BackendError)
        return kind(_of_status(error, model))
    if isinstance(error, APIConnectionError):
        return BackendError(_of_connection(error, name))
    if isinstance(error, APIError):
        return BackendError(f"{name} failed while it answered: {_ended(told(error, model.server) or 'try again')}")
    match error:
        case BrokenOff():
            return BackendError(f"{name} broke off in the middle of its answer: try again.")
        case Silent() | TimeoutError():
            return BackendError(f"{name} went silent and was left: try again, or see how busy that server is.")
        case NoList():
            return BackendError(f"{name} sends no list of models: see that --base-url is the address of its API.")
        case Endless():
            return BackendError(f"{name} went on past the longest answer that was asked for: try again.")
        case NoStream():
            return BackendError(
                f"{name} sent {shown(str(error), 40) or 'something unnamed'} where an answer was expected: see that "
                "--base-url is the address of its API, which ends in /v1 mostly."
            )
    return BackendError(f"{name} sent something that is no answer: see that --base-url is the address of its API.")


def unlisted(error: Exception, server: Server) -> tuple[str, str]:
    """Why a server doesn't say what it has: in a few words, and as a sentence."""
    name = server.name
    if isinstance(error, BackendError):
        return f"{name} sends no list of models", str(error)
    sentence = str(refusal(error, served_model(server, "its models")))
    if isinstance(error, APIStatusError):
        refused = error.status_code in (401, 403)
        return f"{name} refuses the key" if refused else f"{name} answers with status {error.status_code}", sentence
    if isinstance(error, APIConnectionError | TimeoutError):
        return f"no secure connection to {name}" if _of_tls(error) else f"{name} can't be reached", sentence
    return f"{name} sends no list of models", sentence


def _of_connection(error: Exception, name: str) -> str:
    if _of_tls(error):
        return (
            f"No secure connection to {name} can be made: see that its address and its certificate are right; "
            "SSL_CERT_FILE names the authorities that are trusted here."
        )
    if isinstance(error, APITimeoutError):
        return f"{name} doesn't answer in time: see that the server runs and can be reached from here, then try again."
    causes = [type(cause).__name__ for cause in _causes(error)]
    if "ConnectError" in causes:
        return f"{name} can't be reached: see that the server runs and can be reached from here, then try again."
    return f"{name} broke the connection off: try again."


def _of_status(error: APIStatusError, model: ServedModel) -> str:
    name, said, status = model.server.name, told(error, model.server), error.status_code
    if 300 <= status < 400:
        to = urlsplit(error.response.headers.get("location", "")).hostname or ""
        there = f", to {shown(to, 80)}," if to and to != error.request.url.host else ""
        return (
            f"{name} sends on to another address{there} and nothing was sent there: give the right one in --base-url."
        )
    if status in (401, 403):
        if model.server.key:
            return f"{name} doesn't take the key: see that --api-key-env names the variable of the right one."
        return f"{name} wants a key: name the variable that holds it with --api-key-env."
    if status == 404:
        if said:
            return f"{name} doesn't find {shown(model.id, 80)}: {_ended(said)}"
        return f"{name} has no API at its address: see --base-url, which ends in /v1 mostly."
    if status == 413:
        return f"{name} takes no question of this size: attach less, or lower max pixels."
    if status == 429:
        return f"{name} has too much to do: try again in a moment."
    if status in (408, 502, 503, 504):
        return f"{name} isn't ready: it is starting, or has too much to do. Try again in a moment."
    if status >= 500:
        return f"{name} failed: {_ended(said or 'try again, and see its log')}"
    return f"{name} refuses the question: {_ended(said or f'status {status}, see its log')}"


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?", "…")) else f"{sentence}."


def _of_tls(error: BaseException) -> bool:
    return any(isinstance(cause, ssl.SSLError) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
