"""What the media tests share: ways to write a file and to attach it, and which processes read it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import attach, decoder_process
from tests.waiting import until

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def written(name: str, data: bytes) -> Path:
        path = tmp_path / "hidden-folder" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return path

    return written


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """The sentence with which a file is refused; checks what every such sentence must keep to."""

    def sentence(path: Path, name: str = "", limits: Limits | None = None) -> str:
        with pytest.raises(MediaError) as caught:
            attach(path, name or path.name, limits or Limits())
        text = str(caught.value)
        assert text.startswith(f"“{name or path.name}” ") and text.endswith(".") and text.count("\n") == 0
        assert str(tmp_path) not in text and "hidden-folder" not in text and "/" not in text
        return text

    return sentence


@pytest.fixture
def attached() -> Callable[..., Media]:
    return lambda path, limits=None: attach(path, path.name, limits or Limits())


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every process that is started to read or copy a file."""
    started: list[subprocess.Popen[bytes]] = []

    class Watched(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(decoder_process.subprocess, "Popen", Watched)
    return started


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fails when a test leaves open descriptors behind. What other threads open closes soon."""
    before = descriptors()
    yield
    until(lambda: descriptors() <= before, "descriptors stay open")


def descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.exists() else 0  # noqa: PTH208
