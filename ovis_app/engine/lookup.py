"""Lookup decoding: what comes next is guessed from what was said before, and verified as a short prefill.

A guess costs rows in a step and never changes a token: what the sampler would have chosen decides. Knows ids; refuses
to know models and scores. After prompt lookup (https://arxiv.org/abs/2304.04487, section 2; "LLMA").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as SequenceOf

from ovis_app.engine.sequence import Sequence

NGRAM = 3  # tokens that must stand in a row before and now, for a guess
MOST = 12  # tokens of a guess
FIRST = 4  # tokens of the first guesses
RECENT = 32  # guessed tokens over which a guesser is judged
WORTH = 0.4  # share of them that must come true; below it nothing is guessed for a while
PAUSE = 32  # tokens of the first such while; each is twice as long as the one before


class Lookup:
    """Guesses for one sequence, out of its own tokens and `references`: former answers to what it asks."""

    def __init__(self, sequence: Sequence, references: SequenceOf[SequenceOf[int]] = ()) -> None:
        self._sequence = sequence
        self._places: dict[tuple[int, ...], tuple[SequenceOf[int], int]] = {}  # an n-gram -> what follows it, and where
        self._indexed = 0  # of the sequence's own tokens
        for reference in references:
            self._index(reference, 0)
        self._length, self._guessed, self._came_true = FIRST, 0, 0
        self._silent_until, self._pause = 0, PAUSE

    def guess(self, most: int) -> list[int]:
        """At most `most` tokens that may follow, none where nothing is known or guessing doesn't pay."""
        ids = self._sequence.ids
        if len(ids) < self._silent_until or len(ids) < NGRAM:
            return []
        self._indexed = self._index(ids, self._indexed)
        found = self._places.get(tuple(ids[-NGRAM:]))
        if found is None:
            return []
        text, place = found
        guess = list(text[place : place + min(most, self._length)])
        visual = next((number for number, token in enumerate(guess) if token < 0), len(guess))
        return guess[:visual]

    def judge(self, guessed: int, came_true: int) -> None:
        """A guess of so many tokens was verified."""
        self._guessed += guessed
        self._came_true += came_true
        self._length = min(self._length * 2, MOST) if came_true == guessed else FIRST
        if self._guessed < RECENT:
            return
        if self._came_true < WORTH * self._guessed:
            self._silent_until, self._pause = len(self._sequence) + self._pause, self._pause * 2
        self._guessed = self._came_true = 0

    def _index(self, text: SequenceOf[int], begin: int) -> int:
        """Remembers what follows each n-gram of `text` from `begin` on; how far that is now."""
        for end in range(max(begin, NGRAM), len(text)):
            self._places[tuple(text[end - NGRAM : end])] = (text, end)
        return len(text)


class FormerAnswers:
    """The last answers, for whoever asks the same again: regenerates, or edits a question."""

    def __init__(self, most: int = 16) -> None:
        self._answers: deque[tuple[frozenset[bytes], list[int]]] = deque(maxlen=most)

    def keep(self, sequence: Sequence, block_size: int) -> None:
        if len(sequence) == sequence.prompt_length:
            return  # it would push out one that was given
        digests = sequence.digests(block_size)[: sequence.prompt_length // block_size]
        self._answers.append((frozenset(digests), sequence.ids[max(sequence.prompt_length - NGRAM, 0) :]))

    def references(self, sequence: Sequence, block_size: int) -> list[list[int]]:
        """Answers to prompts that share half of this one's blocks at least, each behind its prompt's last tokens."""
        mine = sequence.digests(block_size)
        return [
            ids for theirs, ids in self._answers if mine and 2 * sum(digest in theirs for digest in mine) >= len(mine)
        ]
