"""What can go wrong, as one tree of exceptions, and the sentences that are said in more than one place.

    UserError            its text is one sentence for people: what is wrong and what to do
    ├── BackendError     an answer that can't be given
    ├── MediaError       a file that can't be attached or read
    └── BatchError       a file of questions or answers that can't be used

A UserError is raised near its cause and `from` it: the sentence goes to the person, the cause to the log. Whatever else
is raised is a mistake of ours; the edge of a thread or a turn says one of the sentences below and logs the traceback.
Knows no files, models or pages.
"""

from __future__ import annotations

UNEXPECTED = "Something went wrong while answering. Please try again; the cause is in the server's log."
FAILED = "The model failed while answering: try again, or start a new chat."
TOO_LONG = "The answer took too long and was stopped: ask for less, or try again."
OUT_OF_MEMORY = "The model ran out of memory: lower max pixels or frames, or start a new chat, and try again."


class UserError(Exception):
    """One sentence for people: what is wrong and what to do."""


class BackendError(UserError):
    """An answer that can't be given."""


class MediaError(UserError):
    """A file that was refused: the sentence names it."""


class BatchError(UserError):
    """A file of questions or answers that can't be used."""


def not_fitting(name: str, tokens: int, context: int) -> BackendError:
    """A conversation that is longer than the model `name` reads; `tokens` is 0 where nobody counted them."""
    length = f"{tokens:,} tokens long, {tokens + 1 - context:,} more" if tokens else "longer"
    return BackendError(
        f"This conversation is {length} than {name} can read with an answer: shorten the question, attach less, lower "
        "max pixels, start a new chat, or let the oldest turns be forgotten in the settings."
    )
