"""A model's name to a folder on this disk: a folder stays where it is, a repository is fetched from the hub.

Fetches safetensors, json and tokenizer files only: code in a repository is never downloaded, let alone run. What was
fetched stays in huggingface_hub's cache, under its conventions (HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2  # what huggingface_hub speaks with: its errors pass through
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm.auto import tqdm

from ovis_app.generation import BackendError
from ovis_app.zoo import ModelSpec

FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "merges.txt", "vocab.txt", "*.model")

Progress = Callable[[str], None]


def folder_of(spec: ModelSpec, progress: Progress = lambda note: None) -> Path:
    """The checkpoint's folder, fetched if need be; `progress` hears how far that is. Raises BackendError."""
    if spec.folder is not None:
        return spec.folder
    if spec.bundled or Path(spec.id).is_dir() or spec.id.count("/") != 1:
        raise BackendError(f"There is no model called {spec.name}: name a folder with a config.json, or a repository.")
    try:
        folder = snapshot_download(spec.id, allow_patterns=list(FILES), tqdm_class=_bar(spec.name, progress))
    except GatedRepoError as error:
        raise BackendError(
            f"{spec.id} asks you to accept its terms: do so on its page, then set HF_TOKEN and try again."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise BackendError(f"There is no model called {spec.id}: check the spelling.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise BackendError(
            f"{spec.id} couldn't be downloaded: check the network and the free disk space, then try again; "
            "files that are whole already are kept."
        ) from error
    if not (Path(folder) / "config.json").is_file():
        raise BackendError(f"{spec.id} has no config.json: is it an Ovis checkpoint?")
    return Path(folder)


def _bar(name: str, progress: Progress) -> type[tqdm[Any]]:
    """A progress bar that shows nothing itself and tells `progress` bytes and time left."""

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            self.since = time.monotonic()
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": False, "file": _Nowhere(), "mininterval": 0.0})

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            if self.unit == "B" and self.total:
                progress(downloaded(name, self.n, self.total, time.monotonic() - self.since))
            return shown

    return Bar


class _Nowhere:
    """A stream that swallows what a bar draws."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def downloaded(name: str, done: float, total: float, seconds: float) -> str:
    """How far a download is: "Downloading Ovis2.5-2B: 1.2 of 5.1 GB, 3 min left"."""
    unit, size = next((u, s) for u, s in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if total >= s or u == "kB")
    text = f"Downloading {name}: {done / size:.1f} of {total / size:.1f} {unit}"
    if 0 < done < total and seconds > 2:
        left = seconds * (total - done) / done
        text += f", {left / 60:.0f} min left" if left >= 90 else f", {left:.0f} s left"
    return text
