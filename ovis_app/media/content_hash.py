"""What a file holds, as a short name: the same content has the same name wherever it lies."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from ovis_app.conversation import Media
from ovis_app.limits import refusal


def digest(media: Media) -> str:
    """SHA-256 of the file, in hex. Raises MediaError when the file is gone."""
    try:
        status = media.path.stat()
        return _digest(media.path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise refusal(media.label, "is no longer there: attach it again.") from error


@lru_cache(maxsize=1024)
def _digest(path: Path, size: int, changed: int) -> str:
    """`size` and `changed` (ns) tell one state of the file from another."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
