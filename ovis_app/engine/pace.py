"""How many tokens of prompts a step may compute, so that it takes about as long as it should.

Learns from how long steps took. Knows seconds and tokens; refuses to know what else a step does.
"""

from __future__ import annotations

LEAST = 16  # tokens: with fewer a step is all overhead
FIRST = 256  # tokens of the first chunks, until one was timed
CHANGE = 2.0  # from one step to the next, at most


class Pace:
    """Prefill within `seconds` a step while somebody decodes, within `alone_seconds` where nobody does."""

    def __init__(self, *, seconds: float, alone_seconds: float, most: int) -> None:
        """`most` tokens whatever the time: more take memory."""
        self.most = most
        self._wanted = {True: seconds, False: alone_seconds}  # by whether somebody decodes
        self._tokens = {True: float(FIRST), False: float(FIRST)}

    def tokens(self, *, decoding: bool) -> int:
        return max(min(int(self._tokens[decoding]), self.most), LEAST)

    def took(self, tokens: int, seconds: float, *, decoding: bool) -> None:
        """A step with `tokens` tokens of prompts took so long. What a step takes without any is in it, so that the next
        is a little longer or shorter, not in proportion."""
        ratio = self._wanted[decoding] / max(seconds, 1e-9)
        if ratio > 1 and tokens < self.tokens(decoding=decoding):
            return  # the prompt was over: nothing is known of more
        changed = tokens * min(max(ratio, 1 / CHANGE), CHANGE)
        self._tokens[decoding] = max(min(changed, self.most), LEAST)

    def out_of_memory(self) -> None:
        """Half as many tokens at most from now on."""
        self.most = max(self.most // 2, LEAST)
