"""The encoder cache: visual embeddings of pictures and clips, found again by content and resolution, within a budget
of bytes.

Knows hashes and bytes; refuses to know files, families and towers.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor

from ovis_app.models.prompt import VISUAL_ATOM


@dataclass(frozen=True)
class EncodedPart:
    """What stands in one placeholder: ids of indicators and visual tokens, and the tokens' embeddings."""

    ids: tuple[int, ...]
    embeddings: Tensor  # [visual tokens, hidden]
    content: int  # below every placeholder id: the same for the same picture at the same resolution

    @property
    def keys(self) -> tuple[int, ...]:
        """The ids with visual tokens named by content, for finding common beginnings of prompts."""
        return tuple(self.content if token == VISUAL_ATOM else token for token in self.ids)


@dataclass(frozen=True)
class EncodedMedia:
    """A picture or clip as visual embeddings: a span per placeholder, and the times of a clip's frames in seconds."""

    kind: str
    spans: tuple[EncodedPart, ...]
    times: tuple[float, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(span.embeddings.numel() * span.embeddings.element_size() for span in self.spans)


class EncoderCache:
    """The least recently used is evicted first once `limit` bytes are passed. From any thread: who runs out of memory
    clears it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._encoded: OrderedDict[str, EncodedMedia] = OrderedDict()

    def get(self, key: str) -> EncodedMedia | None:
        with self._lock:
            encoded = self._encoded.get(key)
            if encoded is not None:
                self._encoded.move_to_end(key)
            return encoded

    def put(self, key: str, encoded: EncodedMedia) -> None:
        with self._lock:
            self._encoded[key] = encoded
            while len(self._encoded) > 1 and self._bytes() > self.limit:
                self._encoded.popitem(last=False)

    @property
    def bytes(self) -> int:
        with self._lock:
            return self._bytes()

    def clear(self) -> None:
        with self._lock:
            self._encoded.clear()

    def _bytes(self) -> int:
        return sum(encoded.bytes for encoded in self._encoded.values())
