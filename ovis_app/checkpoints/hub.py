"""A model's name to a folder on this disk: a folder stays where it is, a repository is fetched from the hub.

Fetches safetensors, json and tokenizer files only: code in a repository is never downloaded, let alone run. What was
fetched stays in huggingface_hub's cache, under its conventions (HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE). The
fetching itself is download_process.py, in a process that can be ended.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from ovis_app.errors import IS_ADAPTER, BackendError
from ovis_app.zoo import ModelSpec, is_adapter

# Hears what happens, in words for people, and the share that is done (0 to 1; None: unknown). May raise to cancel.
Progress = Callable[[str, float | None], None]

DOWNLOADER = Path(__file__).with_name("download_process.py")
POLL_SECONDS = 0.2  # seconds between two calls of `progress`, so that cancelling is never late

PROBLEMS = {
    "gated": "{name} asks you to accept its terms: do so on its page, then set HF_TOKEN and try again.",
    "unknown": "There is no model called {name}: check the spelling, or set HF_TOKEN if it is private.",
    "revision": "{name} has no such revision: check what stands behind the @.",
    "offline": "{name} is not on this disk and HF_HUB_OFFLINE is set: unset it to download the model.",
    "disk": "The disk is too full to download {name}: free some space, or set HF_HOME to a larger disk, and try again.",
    "folder": "{name} can't be written to the download folder: check its permissions, or set HF_HOME to another one.",
    "pickle": "{name} has pickled weights only, which could run code: choose one with .safetensors files.",
    "weights": "{name} has no .safetensors weights: is it an Ovis checkpoint?",
    "config": "{name} has no config.json: is it an Ovis checkpoint?",
    "network": "{name} couldn't be downloaded: check the network and try again; files that are whole already are kept.",
}
DISK_FULL = (
    "{name} needs {needed:.1f} GB on the disk and {free:.1f} GB are free: "
    "free some space, or set HF_HOME to a larger disk, and try again."
)


class DownloadFailed(Exception):
    """What the downloader said of its failure, for the log."""


def no_progress(note: str, share: float | None) -> None:
    """The progress of whoever doesn't ask."""


def folder_of(spec: ModelSpec, progress: Progress = no_progress) -> Path:
    """The checkpoint's folder, fetched if need be; `progress` hears how far that is several times a second, and what
    it raises ends the download at once and passes through. Raises BackendError."""
    if spec.folder is not None:
        return spec.folder
    if spec.refused:
        raise BackendError(spec.refused)
    if is_adapter(spec.id):
        raise BackendError(IS_ADAPTER.format(name=spec.name))
    if not spec.repository:
        raise BackendError(f"There is no model called {spec.name}: name a folder with a config.json, or a repository.")
    progress(f"Looking for {spec.name}", None)
    started, words, share, too_full = time.monotonic(), f"Looking for {spec.name}", None, ""
    with closing(_messages(spec.repositories, spec.revision)) as messages:  # however this ends, the downloader does
        for message in messages:
            if "folder" in message:
                return Path(message["folder"])
            if "problem" in message:
                sentence = too_full or PROBLEMS[message["problem"]].format(name=spec.id)
                raise BackendError(sentence) from DownloadFailed(message["cause"])
            if "needed" in message:
                too_full = DISK_FULL.format(name=spec.name, **{k: v / 1e9 for k, v in message.items()})
            if "done" in message:
                share = message["done"] / message["total"]
                words = downloaded(spec.name, message["done"], message["total"], time.monotonic() - started)
            progress(words, share)
    raise BackendError(PROBLEMS["network"].format(name=spec.id)) from DownloadFailed("the downloader died")


def folder_here(spec: ModelSpec) -> Path | None:
    """The checkpoint's folder as far as it is on this disk, which may be a part of it; fetches nothing."""
    if spec.folder is not None:
        return spec.folder
    for name in spec.repositories:
        with suppress(HFValidationError, OSError):
            config = try_to_load_from_cache(name, "config.json", revision=spec.revision or None)
            if isinstance(config, str):
                return Path(config).parent
    return None


def _messages(repositories: Sequence[str], revision: str) -> Generator[dict[str, Any], None, None]:
    """What the downloader says, and an empty message whenever it has said nothing for a while. Closing ends it."""
    process = subprocess.Popen(
        [sys.executable, "-P", str(DOWNLOADER), revision, *repositories],  # -P: this folder stays off the child's path
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    half_written: list[Path] = []
    pump = threading.Thread(
        target=_pump, args=(process.stdout, messages, half_written), name="download-pipe", daemon=True
    )
    pump.start()
    try:
        while True:
            try:
                message = messages.get(timeout=POLL_SECONDS)
            except queue.Empty:
                yield {}
                continue
            if message is None:
                return
            yield message
    finally:
        process.kill()  # at its end nothing is left to kill
        process.wait()
        pump.join()
        process.stdin.close()
        process.stdout.close()
        for file in half_written:
            with suppress(OSError):
                file.unlink()


def _pump(
    stream: IO[str], messages: queue.SimpleQueue[dict[str, Any] | None], half_written: list[Path]
) -> None:  # fmt: skip
    """Moves messages from the pipe to the queue, None at the end, and notes files that aren't whole yet: in this
    thread, since Ctrl-C may strike the other one between taking a message and reading it."""
    for line in stream:
        with suppress(ValueError):  # a line that was cut
            message = json.loads(line)
            if "half_written" in message:
                half_written.append(Path(message["half_written"]))
            messages.put(message)
    messages.put(None)


def downloaded(name: str, done: float, total: float, seconds: float) -> str:
    """How far a download is: "Downloading Ovis2.5-2B: 1.2 of 5.1 GB, 3 min left"."""
    text = f"Downloading {name}: {amount(done, total)}"
    if 0 < done < total and seconds > 2:
        left = seconds * (total - done) / done
        text += f", {left / 60:.0f} min left" if left >= 90 else f", {left:.0f} s left"
    return text


def amount(done: float, total: float) -> str:
    """ "1.2 of 5.1 GB"."""
    unit, size = next((u, s) for u, s in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if total >= s or u == "kB")
    return f"{done / size:.1f} of {total / size:.1f} {unit}"
