"""How many tokens of prompts a step may compute, so that it takes about as long as it should.

Learns from how long steps took. Knows seconds and tokens; refuses to know what else a step does.
"""

from __future__ import annotations

LEAST = 16  # tokens: with fewer a step is all overhead
FIRST = 256  # tokens of the first chunks, until one was timed
CHANGE = 2.0  # from one step to the next, at most
LONGER = 2.0  # than without prompts a step may take at most, where that alone takes longer than it should
ODD = 4.0  # times less than was expected: what was known was a hiccup
SURPRISE = 1.5  # times what was expected, or less by that: the device got slower or faster
SEVERAL = 2.4  # weight of the last three steps, after which there is something to be surprised of
MEMORY = 0.8  # of what was known that is left after a step
APART = 0.1  # of their mean that numbers of tokens must vary by, to tell what one token takes
DRIFT = 1.02  # a step, by which the least that is remembered grows
RECOVERY = 64  # steps with prompts after one without memory, until twice as many tokens are tried again


class Line:
    """A step's seconds by the tokens of prompts in it: what any step takes, and what a token adds; a line through the
    last steps, the older the less. Until they differ, all of the time is thought to be the tokens'."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self.fixed, self.slope = 0.0, 0.0
        self._least = float("inf")  # seconds of a step, as far as is remembered: no step takes less than `fixed`
        self._sums = [0.0] * 5  # of 1, tokens, seconds, tokens squared, tokens times seconds

    def add(self, tokens: int, seconds: float) -> None:
        expected = self.fixed + self.slope * tokens
        if expected > ODD * seconds:  # all that was known was a hiccup
            self._forget()
        elif expected and self._sums[0] > SEVERAL and not 1 / SURPRISE < seconds / expected < SURPRISE:
            self._scale(seconds / expected)
            self._sums = [0.0] * 5  # steps before and after aren't on one line
        self._least = min(self._least * DRIFT, seconds)
        new = (1.0, tokens, seconds, tokens * tokens, tokens * seconds)
        self._sums = [MEMORY * old + one for old, one in zip(self._sums, new, strict=True)]
        mean, time, squares, both = (one / self._sums[0] for one in self._sums[1:])
        variance = squares - mean * mean
        if variance > (APART * mean) ** 2:
            self.slope = min(max((both - mean * time) / variance, 0.0), time / mean)
            self.fixed = min(time - self.slope * mean, self._least)
        elif expected := self.fixed + self.slope * mean:
            self._scale(time / expected)
        else:
            self.slope = time / mean

    def _scale(self, times: float) -> None:
        self.fixed, self.slope, self._least = self.fixed * times, self.slope * times, self._least * times


class Pace:
    """Prefill within `seconds` a step while somebody decodes, within `alone_seconds` where nobody does."""

    def __init__(self, *, seconds: float, alone_seconds: float, most: int) -> None:
        """`most` tokens whatever the time: more take memory."""
        self.most = self._most_ever = most
        self._went_well = 0  # steps since memory ran out
        self._wanted = {True: seconds, False: alone_seconds}  # by whether somebody decodes
        self._tokens = {True: float(FIRST), False: float(FIRST)}
        self._lines = {True: Line(), False: Line()}

    def tokens(self, *, decoding: bool) -> int:
        return max(min(int(self._tokens[decoding]), self.most), LEAST)

    def took(self, tokens: int, seconds: float, *, decoding: bool) -> None:
        """A step with `tokens` tokens of prompts took so long. What it takes without any is in it: where that alone is
        long, as on a device that is slow to be told what to do, prompts may take as much again."""
        self._recover()
        line, wanted = self._lines[decoding], self._wanted[decoding]
        line.add(tokens, seconds)
        if decoding:
            wanted = max(wanted, LONGER * line.fixed)
        if seconds < wanted and tokens < self.tokens(decoding=decoding):
            return  # the prompt was over: nothing is known of more
        fitting = (wanted - line.fixed) / line.slope if line.slope else float("inf")
        if seconds > wanted:
            fitting = min(fitting, tokens * wanted / seconds)
        changed = min(max(fitting, tokens / CHANGE), tokens * CHANGE)
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
