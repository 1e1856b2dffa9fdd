"""Nothing is computed twice: the attention caches of recent conversations, found again by what their prompts say.

A prompt is named by its keys, one a token: a text token's id, or a number made from a picture's content. Knows keys and
caches; refuses to know conversations and pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from transformers import DynamicCache, PreTrainedConfig

Keys = tuple[int, ...]
WORTH = 64  # tokens in common that make it worth cutting a longer conversation's cache down to them


@dataclass
class Kept:
    """What one conversation has computed: `cache` holds keys and values of the tokens that `keys` name."""

    keys: Keys
    cache: DynamicCache

    @property
    def bytes(self) -> int:
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.cache.layers if layer.is_initialized)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))


class PrefixStore:
    """The caches of the last few conversations, at most `limit` bytes in all. One thread at a time takes and keeps;
    any thread may `clear`."""

    def __init__(self, *, limit: int, entries: int = 8) -> None:
        self.entries, self.limit = entries, limit
        self._kept: list[Kept] = []  # the most recently used last

    def take(self, keys: Keys, config: PreTrainedConfig) -> tuple[DynamicCache, int]:
        """A cache to continue `keys` with, and how many of their tokens it holds already (at least one is left to
        compute). A cache that was kept leaves the store: `keep` puts it back once it has grown."""
        for kept in sorted(self._kept, key=lambda kept: common(kept.keys, keys), reverse=True):
            reused = min(common(kept.keys, keys), len(keys) - 1)
            again = reused == len(keys) - 1  # the same question once more
            same = again or reused * 2 >= len(kept.keys) or (reused >= WORTH and reused * 2 >= len(keys))
            if same and reused and _cut(kept.cache, len(kept.keys) - reused):
                with suppress(ValueError):  # forgotten meanwhile
                    self._kept.remove(kept)
                return kept.cache, reused
        return DynamicCache(config=config), 0

    def keep(self, keys: Keys, cache: DynamicCache) -> None:
        """Remembers a cache under the keys of the tokens that it holds, and forgets the oldest beyond the limits."""
        held = cache.get_seq_length()
        if 0 < held <= len(keys):
            self._kept.append(Kept(keys[:held], cache))
        with suppress(IndexError):  # another thread has forgotten everything meanwhile
            while len(self._kept) > self.entries or self.bytes > self.limit:
                self._kept.pop(0)

    @property
    def bytes(self) -> int:
        return sum(kept.bytes for kept in self._kept)

    def clear(self) -> None:
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)


def _cut(cache: DynamicCache, tokens: int) -> bool:
    """Drops the last `tokens` tokens; False where a sliding window has already forgotten what came before them."""
    if tokens == 0:
        return True
    if any(layer.is_sliding and layer.get_seq_length() >= layer.sliding_window for layer in cache.layers):
        return False
    cache.crop(-tokens)
    return True
