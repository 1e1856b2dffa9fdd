"""One request's tokens as events, while `generate` runs in another thread.

A TextIteratorStreamer whose iteration never blocks for ever: it wakes with `Waiting`, ends with the worker whatever
happened there, and passes each character on as soon as it is whole. One per request, never shared.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty
from typing import Literal

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from torch import Tensor
from transformers import TextIteratorStreamer

from ovis_app.errors import TOO_LONG, BackendError, RequestError
from ovis_app.generation import Answer, Done, Event, Recast, Thinking, Waiting
from ovis_app.stop_strings import StopStrings


@dataclass(frozen=True)
class Failure:
    """What went wrong in the worker, as a sentence; `refused` where the question was the cause."""

    sentence: str
    refused: bool = False


HEARTBEAT = 0.1  # seconds: a generator can only be closed where it yields
BROKEN = "\ufffd"


class TokenStreamer(TextIteratorStreamer):
    """`generate(streamer=...)` puts ids in; iterating gives events until Done, or raises BackendError.

    The worker calls `begin` once it has a tokenizer, then generate, then `done` or `fail`. With thinking on, the first
    token decides: a thought that it opens streams as Thinking until it ends.
    """

    def __init__(self, *, deadline: float = float("inf")) -> None:
        """`deadline` is the time.monotonic() at which waiting is given up."""
        super().__init__(None, timeout=HEARTBEAT)  # type: ignore[arg-type]  # it comes with `begin`
        self.deadline = deadline
        self.note = "Waiting for the model"  # what the worker is doing; it may write this at any time
        self.count = self.thought_count = 0
        # time.monotonic() of the first and the last token, and of the thought's end
        self.first_time: float | None = None
        self.last_time: float | None = None
        self.answer_time: float | None = None
        self._over = False
        self._can_think = self._in_thought = False
        self._stops = StopStrings()

    @property
    def enough(self) -> bool:
        """Whether a text was said that ends the answer; what comes after it is nobody's."""
        return self._stops.found

    def say(self, note: str) -> None:
        """What the worker does now, in a few words."""
        self.note = note

    # --- the worker's side -------------------------------------------------------------------------------------------

    def begin(
        self,
        tokenizer: Tokenizer,
        *,
        thinking: bool = False,
        think_start: int | None = None,
        think_end: int | None = None,
        stop: Sequence[str] = (),
        begun: Literal["nothing", "thought", "answer"] = "nothing",
    ) -> None:
        """Says how to read the ids. `think_start` and `think_end` are ids: text that merely spells them does not open
        or close a thought. Before the first of `stop` the answer ends. `begun` is what the ids go on with."""
        self._stops = StopStrings(stop)
        self._backend = tokenizer
        self._decode = DecodeStream(skip_special_tokens=True)
        self._pending: list[int] = []  # ids whose characters are not whole yet
        self._can_think, self._think_start, self._think_end = thinking, think_start, think_end
        self._in_thought, self._at_start = begun == "thought", begun == "nothing"

    def put(self, value: Tensor) -> None:
        """Ids of the next tokens, [1] or [tokens]. The prompt never comes here: it goes in as embeddings."""
        for token in value.flatten().tolist():
            self._token(token)

    def _token(self, token: int) -> None:
        if self.enough:
            return
        self.last_time = time.monotonic()
        self.first_time = self.first_time or self.last_time
        self.count += 1
        self.thought_count += self._in_thought
        if self._can_think and token == self._think_start and self._at_start and not self._in_thought:
            self._in_thought, self.thought_count = True, self.count
        elif self._can_think and token == self._think_end:
            self._flush()
            if not self._in_thought:
                self.text_queue.put(Recast())
                self.thought_count = self.count
            self._can_think, self._in_thought, self._at_start = False, False, True
            self.answer_time = self.last_time
        else:
            self._pending.append(token)
            text = self._stepped(token)
            if text:
                self._pending.clear()
                self._say(text)

    def _stepped(self, token: int) -> str | None:
        """The text that the token completes, if any."""
        try:
            return self._decode.step(self._backend, token)
        except Exception:  # tokenizers names it no further: byte tokens that make no character after all
            self._decode = DecodeStream(skip_special_tokens=True)
            return self._backend.decode(self._pending, skip_special_tokens=True)

    def _say(self, text: str) -> None:
        if self._at_start:  # the line breaks around a thought are punctuation, not text
            text = text.lstrip("\n")
            self._at_start = not text
        if self._in_thought and text:
            self.text_queue.put(Thinking(text, self.thought_count))
        elif text and (said := self._stops.feed(text)):
            self.text_queue.put(Answer(said))

    def _flush(self) -> None:
        """Says what the last ids still hold, but for the beginning of a character that never came."""
        left = self._backend.decode(self._pending, skip_special_tokens=True).rstrip(BROKEN)
        self._pending.clear()
        self._decode = DecodeStream(skip_special_tokens=True)
        self._say(left)
        if held := self._stops.rest():
            self.text_queue.put(Answer(held))

    def end(self) -> None:
        """generate's own end: the last characters."""
        self._flush()

    def done(self, event: Done) -> None:
        self.text_queue.put(event)

    def hand_on(self, event: Event) -> None:
        """An event of a streamer in another process."""
        if isinstance(event, Waiting):
            self.say(event.note)
        else:
            self.text_queue.put(event)

    def fail(self, sentence: str, *, refused: bool = False) -> None:
        """Ends the iteration with a BackendError, a RequestError where it was `refused`. Takes text, not the exception:
        its traceback would keep tensors."""
        self.text_queue.put(Failure(sentence, refused))

    # --- the reader's side -------------------------------------------------------------------------------------------

    def __iter__(self) -> TokenStreamer:
        return self

    def __next__(self) -> Event:
        """The next event, or `Waiting` after 0.1 s without one. Raises BackendError: failed, or past the deadline."""
        if self._over:
            raise StopIteration
        try:
            event = self.text_queue.get(timeout=HEARTBEAT)
        except Empty:
            if time.monotonic() > self.deadline:
                raise BackendError(TOO_LONG) from None
            return Waiting(self.note)
        if isinstance(event, Failure):
            raise RequestError(event.sentence) if event.refused else BackendError(event.sentence)
        if isinstance(event, Done):
            self._over = True
        return event
