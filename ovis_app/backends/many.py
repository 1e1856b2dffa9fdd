"""Batches of questions for a backend that answers many at once: each takes the page's road, a failure staying with its
question. Knows threads; refuses to know who answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

from ovis_app import chat
from ovis_app.backend import Backend
from ovis_app.conversation import Conversation, Message
from ovis_app.generation import GenerationSettings, Request


def answers(backend: Backend, asked: Sequence[Conversation], settings: GenerationSettings) -> list[Message]:
    """An assistant's message for each; one that couldn't be given has `error`. Whoever interrupts this closes the
    backend."""
    with ThreadPoolExecutor(max(len(asked), 1), thread_name_prefix="ovis-ask") as threads:
        try:
            return list(threads.map(partial(_answer, backend, settings), asked))
        except BaseException:
            backend.close()  # or else the threads would be waited for
            raise


def _answer(backend: Backend, settings: GenerationSettings, conversation: Conversation) -> Message:
    with closing(chat.reply(backend, Request(conversation, settings))) as states:
        *_, last = states
    return last.messages[-1]
