"""One request inside the engine, as counts: its tokens, how many of them are computed, and in which blocks.

Knows keys and lengths; refuses to know readers, threads, and what tensors hold.
"""

from __future__ import annotations

import hashlib
import itertools
from array import array
from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_arrivals = itertools.count()


class Sequence:
    """Prompt and answer. A token has an id, which says what to embed, and a key, which says what it is: a text token's
    key is its id, a visual token's its content's name. What sequences have in common is told by keys alone."""

    def __init__(
        self, ids: SequenceOf[int], keys: SequenceOf[int], visual: Tensor | None = None, *, begun: int = 0
    ) -> None:  # fmt: skip
        """`ids` are negative where a row of `visual` [visual tokens, hidden] or an indicator goes; the last `begun` are
        the answer's own. Raises ValueError where ids and keys differ in number, or there are none."""
        if len(ids) != len(keys) or not len(ids):
            raise ValueError(f"{len(ids)} ids and {len(keys)} keys")
        self.ids, self.keys, self.visual = list(ids), list(keys), visual
        self.begun = begun
        self.prompt_length = len(self.ids) - begun
        self.arrival = next(_arrivals)
        self.found: int | None = None  # tokens whose keys and values were known when it was first admitted
        self.computed = 0  # tokens whose keys and values are in its blocks
        self.block_table: list[int] = []
        self.remembered = 0  # blocks at its beginning that are known by their content, or are another's double
        self.drafts: list[int] = []  # guesses of what follows, to be verified by the next step
        self._digests: list[bytes] = []  # of its full blocks, each over all tokens up to its end

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def pending(self) -> int:
        """Tokens to compute before the next one can be chosen: 1 while decoding."""
        return len(self.ids) - self.computed

    @property
    def generated(self) -> list[int]:
        """Ids of the answer so far, with what had been said of it before this request."""
        return self.ids[self.prompt_length :]

    @property
    def new(self) -> int:
        """How many tokens this request has made."""
        return len(self.ids) - self.prompt_length - self.begun

    def append(self, token: int) -> None:
        self.ids.append(token)
        self.keys.append(token)

    def digests(self, block_size: int) -> list[bytes]:
        """A digest for each full block, which names its tokens and all before them. Python's `hash` would not do:
        hash(-1) is hash(-2), and names of contents are negative."""
        for block in range(len(self._digests), len(self.keys) // block_size):
            before = self._digests[-1] if self._digests else b""
            keys = array("q", self.keys[block * block_size : (block + 1) * block_size])
            self._digests.append(hashlib.blake2b(before + keys.tobytes(), digest_size=16).digest())
        return self._digests
