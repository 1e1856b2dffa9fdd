"""Which blocks of the KV pool belong to whom: handed out, shared by reference count, remembered by content, evicted.

Numbers only: knows neither tensors nor requests beyond their tokens' keys. One thread at a time.
"""

from __future__ import annotations

from collections import OrderedDict

from ovis_app.engine.sequence import Sequence

BLOCK_SIZE = 16  # tokens; what sequences share is whole blocks
MOST_GAPS = 64  # that are looked at for the largest: all of a fragmented pool of 50,000 blocks would take milliseconds


class BlockManager:
    """`count` blocks of `block_size` tokens. A block is free, held by one or more sequences, or cached: held by nobody
    and found again by its digest until it is evicted. At most `most_cached` are cached."""

    def __init__(self, count: int, *, block_size: int = BLOCK_SIZE, most_cached: int | None = None) -> None:
        self.count, self.block_size = count, block_size
        self.most_cached = count if most_cached is None else most_cached
        self._free = bytearray(b"\1" * count)  # 1 where a block is free
        self._free_count = count
        self._references = [0] * count
        self._digest: list[bytes | None] = [None] * count
        self._index: dict[bytes, int] = {}  # digest -> block
        self._cached: OrderedDict[int, None] = OrderedDict()  # the next to evict first

    @property
    def available(self) -> int:
        """Blocks that can be handed out: free ones, and cached ones that would be evicted."""
        return self._free_count + len(self._cached)

    @property
    def cached(self) -> int:
        return len(self._cached)

    @property
    def held(self) -> int:
        return self.count - self.available

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    def known(self, sequence: Sequence) -> list[int]:
        """Blocks that hold the beginning of a sequence already. Its last token is never among them: it must be computed
        for the next one to be chosen."""
        found: list[int] = []
        for digest in sequence.digests(self.block_size)[: (len(sequence) - 1) // self.block_size]:
            block = self._index.get(digest)
            if block is None:
                break
            found.append(block)
        return found

    def admit(self, sequence: Sequence, *, spare: int = 0) -> bool:
        """Blocks for all tokens of a sequence that has none: known ones are shared, and count as computed. False, and
        nothing changes, where fewer than `spare` would be left."""
        shared = self.known(sequence)
        fresh = self.blocks_for(len(sequence)) - len(shared)
        revived = sum(self._references[block] == 0 for block in shared)
        if self.available - revived - fresh < spare:
            return False
        for block in shared:
            self._references[block] += 1
            self._cached.pop(block, None)
        sequence.block_table = shared
        sequence.remembered, sequence.computed = len(shared), len(shared) * self.block_size
        for number in range(fresh):
            self._extend(sequence, fresh - number)
        return True

    def grow(self, sequence: Sequence) -> bool:
        """The blocks that a sequence's next tokens and drafts need; False where there are none."""
        needed = self.blocks_for(len(sequence) + len(sequence.drafts)) - len(sequence.block_table)
        if needed > self.available:
            return False
        for number in range(needed):
            self._extend(sequence, needed - number)
        return True

    def remember(self, sequence: Sequence) -> None:
        """Makes the full blocks that a sequence has computed known by their content."""
        full = sequence.computed // self.block_size
        digests = sequence.digests(self.block_size) if full > sequence.remembered else []
        for number in range(sequence.remembered, full):
            if digests[number] not in self._index:
                block = sequence.block_table[number]
                self._index[digests[number]] = block
                self._digest[block] = digests[number]
        sequence.remembered = max(full, sequence.remembered)

    def release(self, sequence: Sequence) -> None:
        """Takes a sequence's blocks back. Known ones stay cached; the tail of a sequence is evicted before its head."""
        for block in reversed(sequence.block_table):
            self._references[block] -= 1
            if self._references[block]:
                continue
            if self._digest[block] is None:
                self._set_free(block)
            else:
                self._cached[block] = None
        sequence.block_table, sequence.remembered, sequence.computed = [], 0, 0
        while len(self._cached) > self.most_cached:
            self._evict()

    def clear(self) -> None:
        """Evicts all that is cached."""
        while self._cached:
            self._evict()

    def _evict(self) -> None:
        block, _ = self._cached.popitem(last=False)
        digest, self._digest[block] = self._digest[block], None
        assert digest is not None
        del self._index[digest]
        self._set_free(block)

    def _set_free(self, block: int) -> None:
        self._free[block] = 1
        self._free_count += 1

    def _extend(self, sequence: Sequence, needed: int) -> None:
        """One more block for a sequence that needs `needed` of them: the next in memory if that is free, since tables
        that are runs are read without a copy."""
        table = sequence.block_table
        block = table[-1] + 1 if table else self.count
        if block >= self.count or not self._free[block]:
            for _ in range(needed if not self._free_count else 0):
                if self._cached:
                    self._evict()  # at once: what was one sequence's is one gap
            block = self._start(needed)
        self._free[block] = 0
        self._free_count -= 1
        self._references[block] = 1
        table.append(block)

    def _start(self, needed: int) -> int:
        """Where a run of `needed` blocks begins: in the largest gap, behind room for who stands before it."""
        length, begin, end = 0, 0, 0
        for _ in range(MOST_GAPS):
            start = self._free.find(1, end)
            if start < 0:
                break
            end = self._free.find(0, start)
            end = self.count if end < 0 else end
            if end - start > length:
                length, begin = end - start, start
        if begin == 0 or needed > length // 2:
            return begin
        return begin + length // 2
