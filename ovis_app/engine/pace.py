"""How many tokens of prompts a step may compute, so that it takes about as long as it should.

Learns from how long steps took. Knows seconds and tokens; refuses to know what else a step does.
"""

from __future__ import annotations

LEAST = 16  # tokens: with fewer a step is all overhead
FIRST = 256  # tokens of the first chunks, until one was timed
CHANGE = 2.0  # from one step to the next, at most
LONGER = 2.0  # than without prompts a step may take at most, where the other tokens alone take longer than they should
TELLING = 64  # tokens of a step that tell what one of them takes
RECOVERY = 64  # steps with prompts after one without memory, until twice as many tokens are tried again


class Pace:
    """Prefill within `seconds` a step while somebody decodes, within `alone_seconds` where nobody does."""

    def __init__(self, *, seconds: float, alone_seconds: float, most: int) -> None:
        """`most` tokens whatever the time: more take memory."""
        self.most = self._most_ever = most
        self._went_well = 0  # steps since memory ran out
        self._token_seconds = float("inf")  # that a token of a prompt takes, once that is known
        self._wanted = {True: seconds, False: alone_seconds}  # by whether somebody decodes
        self._tokens = {True: float(FIRST), False: float(FIRST)}

    def tokens(self, *, decoding: bool) -> int:
        return max(min(int(self._tokens[decoding]), self.most), LEAST)

    def took(self, tokens: int, seconds: float, *, decoding: bool) -> None:
        """A step with `tokens` tokens of prompts took so long. What a step takes without any is in it, so that the next
        is a little longer or shorter, not in proportion."""
        self._recover()
        wanted = self._wanted[decoding]
        if not decoding and tokens >= TELLING:
            self._token_seconds = seconds / tokens
        elif decoding:  # many who decode, or a slow device, leave the prompts as much time as they take
            wanted = max(wanted, LONGER * (seconds - tokens * self._token_seconds))
        ratio = wanted / max(seconds, 1e-9)
        if ratio > 1 and tokens < self.tokens(decoding=decoding):
            return  # the prompt was over: nothing is known of more
        changed = tokens * min(max(ratio, 1 / CHANGE), CHANGE)
        self._tokens[decoding] = max(min(changed, self.most), LEAST)

    def out_of_memory(self, tokens: int) -> None:
        """There was no memory for so many tokens of prompts: half as many at most, for a while. Whatever took the
        memory may be over soon."""
        self.most = max(min(self.most, tokens // 2), LEAST)
        self._went_well = 0

    def _recover(self) -> None:
        self._went_well += 1
        if self._went_well % RECOVERY == 0:
            self.most = min(self.most * 2, self._most_ever)
