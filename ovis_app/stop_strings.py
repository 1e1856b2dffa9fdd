"""Where an answer ends because it said what it was told to end before. Knows text that comes in pieces; refuses to know
tokens, models and readers.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Passes text on up to the first of `stops`, which may come in several pieces: what could become one is held."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """As much of the text so far as is sure to be said; nothing once a stop was found."""
        if self.found:
            return ""
        text = self._held + text
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        sure = len(text) - max((_beginning(text, stop) for stop in self._stops), default=0)
        self._held = text[sure:]
        return text[:sure]

    def rest(self) -> str:
        """What is held when nothing more comes: it was no stop."""
        held, self._held = self._held, ""
        return held


def _beginning(text: str, stop: str) -> int:
    """How many of the last characters may be the beginning of a stop."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
