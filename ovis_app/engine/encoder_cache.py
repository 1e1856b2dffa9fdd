"""Encoded pictures and clips, found again by content and resolution: a bounded memory of visual embeddings.

Knows hashes and bytes; refuses to know files, families and towers.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor

from ovis_app.models.prompt import VISUAL_ATOM


@dataclass(frozen=True)
class Span:
    """What stands in one placeholder: ids of indicators and visual tokens, and the tokens' embeddings."""

    ids: tuple[int, ...]
    embeddings: Tensor  # [visual tokens, hidden]
    content: int  # below every placeholder id: the same for the same picture at the same resolution

    @property
    def keys(self) -> tuple[int, ...]:
        """The ids with visual tokens named by content, for finding common beginnings of prompts."""
        return tuple(self.content if token == VISUAL_ATOM else token for token in self.ids)


@dataclass(frozen=True)
class Seen:
    """An encoded picture or clip: a span per placeholder, and the times of a clip's frames in seconds."""

    kind: str
    spans: tuple[Span, ...]
    times: tuple[float, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(span.embeddings.numel() * span.embeddings.element_size() for span in self.spans)


class VisualCache:
    """The least recently used is forgotten first once `limit` bytes are passed. One thread at a time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._seen: OrderedDict[str, Seen] = OrderedDict()

    def get(self, key: str) -> Seen | None:
        seen = self._seen.get(key)
        if seen is not None:
            self._seen.move_to_end(key)
        return seen

    def put(self, key: str, seen: Seen) -> None:
        self._seen[key] = seen
        while len(self._seen) > 1 and self.bytes > self.limit:
            self._seen.popitem(last=False)

    @property
    def bytes(self) -> int:
        return sum(seen.bytes for seen in self._seen.values())

    def clear(self) -> None:
        self._seen.clear()
