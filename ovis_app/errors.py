"""What can go wrong, as one tree of exceptions, and the sentences that are said in more than one place.

    UserError            its text is one sentence for people: what is wrong and what to do
    ├── BackendError     an answer that can't be given
    │   ├── RequestError     because of how it was asked for: the same again is refused again
    │   ├── Busy             because too many others wait: the same may be answered later
    │   └── AdapterError     because an adapter can't be added to the model
    ├── MediaError       a file that can't be attached or read
    ├── BatchError       a file of questions or answers that can't be used
    └── DataError        a file of training samples that can't be used

A UserError is raised near its cause and `from` it: the sentence goes to the person, the cause to the log. Whatever else
is raised is a mistake of ours; the edge of a thread or a turn says one of the sentences below and logs the traceback.
Knows no files, models or pages.
"""

from __future__ import annotations

UNEXPECTED = "Something went wrong while answering. Please try again; the cause is in the server's log."
FAILED = "The model failed while answering: try again, or start a new chat."
BUSY = "Too many questions are waiting already: try again in a moment."
CLOSED = "The model is being shut down: try again later."
TOO_LONG = "The answer took too long and was stopped: ask for less, or try again."
IS_ADAPTER = "{name} is an adapter, not a model: name it with --adapter, and with --model what it was trained on."
BLIND = "How pictures are seen can't be told here."
OUT_OF_MEMORY = "The model ran out of memory: lower max pixels or frames, or start a new chat, and try again."


class UserError(Exception):
    """One sentence for people: what is wrong and what to do."""


class BackendError(UserError):
    """An answer that can't be given."""


class RequestError(BackendError):
    """A question that can't be answered as it was asked."""


class Busy(BackendError):
    """A question for which there is no place just now."""


class AdapterError(BackendError):
    """An adapter that can't be used, or not with this model."""


class MediaError(UserError):
    """A file that was refused: the sentence names it."""


class BatchError(UserError):
    """A file of questions or answers that can't be used."""


class DataError(UserError):
    """Training samples that can't be used: the sentence, or one a line, names them."""


def visible(text: str) -> str:
    """A stranger's words as they can be shown: a mark for whatever moves a cursor, turns the line round or can't be
    encoded."""
    return "".join(c if c.isprintable() else "�" for c in text)


def not_fitting(name: str, tokens: int, context: int) -> RequestError:
    """A conversation that is longer than the model `name` reads; `tokens` is 0 where nobody counted them."""
    length = f"{tokens:,} tokens long, {tokens + 1 - context:,} more" if tokens else "longer"
    return RequestError(
        f"This conversation is {length} than {name} can read with an answer: shorten the question, attach less, lower "
        "max pixels, start a new chat, or let the oldest turns be forgotten in the settings."
    )


def api_error(sentence: str, status: int, *, param: str | None = None, code: str | None = None) -> dict[str, object]:
    """An error as programs know it from OpenAI's API: `param` is the field that is the cause, `code` a word for it."""
    kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": sentence, "type": kind, "param": param, "code": code}}
