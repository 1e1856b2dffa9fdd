"""How many tokens of prompts a step may compute, so that it takes about as long as it should.

Learns from how long steps took. Knows seconds and tokens; refuses to know what else a step does.
"""

from __future__ import annotations

LEAST = 16  # tokens: with fewer a step is all overhead
WEIGHT = 0.3  # of the latest step in the running average


class Pace:
    """Prefill within `seconds` a step while somebody decodes, within `alone_seconds` where nobody does."""

    def __init__(self, *, seconds: float, alone_seconds: float, most: int) -> None:
        """`most` tokens whatever the time: more take memory."""
        self.seconds, self.alone_seconds, self.most = seconds, alone_seconds, most
        self._token_seconds = seconds / 256  # a guess, until there was a step

    def tokens(self, *, decoding: bool) -> int:
        wanted = self.seconds if decoding else self.alone_seconds
        return max(min(int(wanted / self._token_seconds), self.most), LEAST)

    def took(self, tokens: int, seconds: float) -> None:
        """A step with `tokens` tokens of prompts took so long."""
        if tokens >= LEAST:
            self._token_seconds += WEIGHT * (seconds / tokens - self._token_seconds)

    def out_of_memory(self) -> None:
        """Half as many tokens at most from now on."""
        self.most = max(self.most // 2, LEAST)
