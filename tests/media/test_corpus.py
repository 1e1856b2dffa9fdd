"""A folder of bad media, where OVIS_BAD_MEDIA names one: its manifest.json says of each file whether it is to be taken
or refused. Each is decided within ten seconds and 500 MB, children included, and no sentence says a path."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from ovis_app.limits import Limits
from ovis_app.media import attach_all

FOLDER = os.environ.get("OVIS_BAD_MEDIA", "")
SECONDS, MEGABYTES = 10.0, 500.0
pytestmark = [pytest.mark.long, pytest.mark.skipif(not FOLDER, reason="OVIS_BAD_MEDIA names no folder")]


@contextmanager
def most_memory(found: list[float]) -> Iterator[None]:
    """Appends how many megabytes more this process and its children had at most while the block ran."""
    me, over = psutil.Process(), threading.Event()

    def now() -> float:
        total = 0
        for one in (me, *me.children(recursive=True)):
            try:
                total += one.memory_info().rss
            except psutil.Error:  # it has ended
                continue
        return total / 2**20

    before, seen = now(), [0.0]

    def watch() -> None:
        while not over.wait(0.02):
            seen.append(now() - before)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
        found.append(max(seen))


def test_every_file_of_the_corpus_is_taken_or_refused_as_its_manifest_says() -> None:
    folder = Path(FOLDER)
    files = json.loads((folder / "manifest.json").read_text("utf-8"))["files"]
    wrong, slowest, most = list[str](), 0.0, list[float]()
    for one in files:
        path, began = folder / one["file"], time.monotonic()
        with most_memory(most):
            good, refused = attach_all([(path, path.name)], Limits())
        slowest = max(slowest, time.monotonic() - began)
        taken = bool(good) and not refused
        if one["expect"] != "either" and taken != (one["expect"] == "ok"):
            wrong.append(f"{one['file']}: {refused or 'taken'}")
        if any(str(folder) in sentence for sentence in refused):
            wrong.append(f"{one['file']}: a path is told")
    print(f"{len(files) - len(wrong)} of {len(files)}, the slowest {slowest:.1f} s, at most +{max(most):.0f} MB")
    assert wrong == []
    assert slowest <= SECONDS and max(most) <= MEGABYTES
