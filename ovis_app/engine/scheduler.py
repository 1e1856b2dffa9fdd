"""What the next step computes: a token for everybody who decodes, and as much prefill as fits beside that.

Policy alone, in pure Python: knows sequences and blocks; refuses to know tensors, clocks and readers.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ovis_app.engine.block_manager import BlockManager
from ovis_app.engine.sequence import Sequence


@dataclass(frozen=True)
class Chunk:
    """Tokens of one sequence that a step computes: `tokens` of them from `sequence.computed` on, then `drafts`."""

    sequence: Sequence
    tokens: int
    drafts: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        return self.tokens + len(self.drafts)

    @property
    def last(self) -> bool:
        """Whether the next token can be chosen behind it."""
        return self.tokens == self.sequence.pending


class Scheduler:
    """First come, first admitted. Whoever decodes gets a token each step; half of the prefill goes to who came first,
    the rest to whoever needs least, so that a short question doesn't wait for a long one. Out of blocks, the youngest
    is preempted: its blocks go, and it is computed anew later."""

    def __init__(self, blocks: BlockManager, *, most_running: int) -> None:
        self.blocks, self.most_running = blocks, most_running
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # by arrival
        self.preemptions = 0

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    @property
    def decoding(self) -> bool:
        """Whether anybody would notice a long step."""
        return any(sequence.pending == 1 for sequence in self.running)

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Takes a sequence out wherever it is, and its blocks back: it is over, or nobody wants it any more."""
        if sequence in self.running:
            self.running.remove(sequence)
            self.blocks.remember(sequence)
            self.blocks.release(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def schedule(self, prefill_tokens: int) -> list[Chunk]:
        """The next step, with at most `prefill_tokens` tokens of prompts. Empty only where nothing is to be done."""
        preempted = self._make_room()
        if not preempted:
            self._admit()
        decoding = [sequence for sequence in self.running if sequence.pending == 1]
        chunks = [Chunk(sequence, 1, tuple(sequence.drafts)) for sequence in decoding]
        return chunks + self._prefill(max(prefill_tokens, 1))

    def _make_room(self) -> bool:
        """A block for everybody whose next token needs one; True where somebody was preempted for it."""
        before = self.preemptions
        for sequence in list(self.running):
            while sequence in self.running and not self.blocks.grow(sequence):
                if sequence.drafts:
                    sequence.drafts.clear()  # nobody is to suffer for a guess
                else:
                    self.preempt(self.running[-1])
        return self.preemptions > before

    def preempt(self, sequence: Sequence) -> None:
        """Back to the front of those who wait."""
        self.running.remove(sequence)
        self.blocks.remember(sequence)
        self.blocks.release(sequence)
        sequence.drafts.clear()
        self.waiting.appendleft(sequence)
        self.preemptions += 1

    def _admit(self) -> None:
        """Those who wait, in order, as long as a block is left for each who runs: else they would preempt one another
        in turn. Who runs alone gets all there is."""
        while self.waiting and len(self.running) < self.most_running:
            if not self.blocks.admit(self.waiting[0], spare=len(self.running)):
                return
            admitted = self.waiting.popleft()
            if admitted.found is None:  # not one that was preempted
                admitted.found = admitted.computed
            self.running.append(admitted)
            self.running.sort(key=lambda sequence: sequence.arrival)

    def _prefill(self, tokens: int) -> list[Chunk]:
        reading = [sequence for sequence in self.running if sequence.pending > 1]
        if not reading:
            return []
        first, *others = reading
        share = min(first.pending, -(-tokens // 2) if others else tokens)
        chunks, tokens = [Chunk(first, share)], tokens - share
        for sequence in sorted(others, key=lambda sequence: sequence.pending):
            if tokens <= 0:
                return chunks
            chunks.append(Chunk(sequence, min(sequence.pending, tokens)))
            tokens -= chunks[-1].tokens
        if tokens > 0 and share < first.pending:
            chunks[0] = Chunk(first, min(first.pending, share + tokens))
        return chunks
