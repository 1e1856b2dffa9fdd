"""Nothing is computed twice: the attention caches of recent conversations, found again by what their prompts say.

A prompt is named by its keys, one a token: a text token's id, or a number made from a picture's content. Knows keys and
caches; refuses to know conversations and pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import DynamicCache, PreTrainedConfig

Keys = tuple[int, ...]


@dataclass
class Kept:
    """What one conversation has computed: `cache` holds keys and values of the tokens that `keys` name."""

    keys: Keys
    cache: DynamicCache


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))


class PrefixStore:
    """The caches of the last few conversations, at most `tokens` tokens in all. One thread at a time."""

    def __init__(self, *, entries: int = 4, tokens: int = 65536) -> None:
        self.entries, self.tokens = entries, tokens
        self._kept: list[Kept] = []  # the most recently used last

    def take(self, keys: Keys, config: PreTrainedConfig) -> tuple[DynamicCache, int]:
        """A cache to continue `keys` with, and how many of their tokens it holds already (at least one is left to
        compute). The cache leaves the store: `keep` puts it back once it has grown."""
        best = max(self._kept, key=lambda kept: common(kept.keys, keys), default=None)
        reused = min(common(best.keys, keys), len(keys) - 1) if best is not None else 0
        if best is None or reused == 0 or not _cut(best.cache, len(best.keys) - reused):
            return DynamicCache(config=config), 0
        self._kept.remove(best)
        return best.cache, reused

    def keep(self, keys: Keys, cache: DynamicCache) -> None:
        """Remembers a cache under the keys of the tokens that it holds, and forgets the oldest beyond the limits."""
        held = cache.get_seq_length()
        if 0 < held <= len(keys):
            self._kept.append(Kept(keys[:held], cache))
        while len(self._kept) > self.entries or sum(len(kept.keys) for kept in self._kept) > self.tokens:
            self._kept.pop(0)

    def clear(self) -> None:
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)


def _cut(cache: DynamicCache, tokens: int) -> bool:
    """Drops the last `tokens` tokens; False where a sliding window has already forgotten what came before them."""
    for layer in cache.layers:
        if layer.is_sliding and layer.get_seq_length() >= layer.sliding_window:
            return False
    if tokens:
        cache.crop(-tokens)
    return True
