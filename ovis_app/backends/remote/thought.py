"""A thought and an answer that come as one text, `<think>...</think>` and then the rest, taken apart as it streams.

For servers without a reasoning parser. Works by text, where the engine's streamer works by control tokens: a server
sends no ids. Knows the two marks; refuses to know chunks and servers.
"""

from __future__ import annotations

from ovis_app.generation import Answer, Event, Recast, Thinking

START, END = "<think>", "</think>"


class ThoughtSplitter:
    """Text goes in as it comes, events come out. What could be the beginning of a mark is held back until it is known.

    A thought may open only at the beginning. With `thinking` on, one that ends without having been opened is recast: it
    was opened in the prompt.
    """

    def __init__(self, *, thinking: bool) -> None:
        self._may_end = thinking
        self._in_thought, self._at_start, self._first = False, True, True
        self._apart = False  # whether the server takes thoughts apart itself
        self._held = ""

    def reason(self, text: str) -> list[Event]:
        """More of a thought that the server took apart: from here on all text is the answer."""
        if not text:
            return []
        if not self._apart:
            self._apart, self._may_end, self._first = True, False, False
            self._in_thought, self._at_start = True, True
        return self._say(text)

    def feed(self, text: str) -> list[Event]:
        """The events that more text completes."""
        if self._apart and self._in_thought and text:
            self._in_thought, self._at_start = False, True
        text, self._held = self._held + text, ""
        events: list[Event] = []
        if self._first:
            bare = text.lstrip("\n")
            if START.startswith(bare):  # also nothing at all
                self._held = text
                return events
            self._first = False
            if bare.startswith(START):
                self._in_thought = self._may_end = True
                text = bare.removeprefix(START)
        if self._may_end:
            before, mark, after = text.partition(END)
            if not mark:
                keep = _beginning(text)
                self._held = text[len(text) - keep :]
                return self._say(text[: len(text) - keep])
            events += self._say(before)
            if not self._in_thought:
                events.append(Recast())
            self._may_end, self._in_thought, self._at_start, text = False, False, True, after
        return events + self._say(text)

    def flush(self) -> list[Event]:
        """What was held back, at the end."""
        text, self._held, self._first = self._held, "", False
        return self._say(text)

    def _say(self, text: str) -> list[Event]:
        if self._at_start:  # the line breaks around a thought are punctuation, not text
            text = text.lstrip("\n")
            self._at_start = not text
        if not text:
            return []
        return [Thinking(text) if self._in_thought else Answer(text)]


def _beginning(text: str) -> int:
    """How many characters at the end of the text could begin the mark of a thought's end."""
    return next((n for n in range(len(END) - 1, 0, -1) if text.endswith(END[:n])), 0)
