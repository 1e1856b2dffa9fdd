"""Fetches one repository, as a process of its own: `python -P download_process.py REVISION REPOSITORY [OTHER NAME]`.

A process can be ended at any moment, whatever the network does; threads can't. Writes a JSON object a line to stdout:
how far it is, then the folder or what went wrong. Ends at once when its stdin does.
Imports nothing of the app, so that it starts at once. Code in a repository is never fetched.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NoReturn

import httpx2  # what huggingface_hub speaks with: its errors pass through
from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from tqdm.auto import tqdm

FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "chat_template.jinja", "merges.txt", "vocab.txt",
         "*.model")  # fmt: skip
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR}
HALF = "*.incomplete"
STALE = 3600.0  # seconds without a write, after which a half-written file belongs to nobody
TICK = 0.1  # seconds between two reports

_saying = threading.Lock()
_half_written: list[str] = []  # where nobody goes on: the next try begins each file that isn't whole anew


def say(**message: Any) -> None:
    """A line to whoever started this process; where nobody listens any more, the end of it."""
    with _saying:
        try:
            print(json.dumps(message), flush=True)
        except OSError:
            leave()


def leave() -> NoReturn:
    """Ends this process, with what it has half written: whoever started it may have been killed."""
    for file in list(_half_written):
        with suppress(OSError):
            os.unlink(file)  # noqa: PTH108 - as it was named by whoever opened it
    os._exit(1)


class Problem(Exception):
    """The repository isn't what can be loaded; its text is the problem's name."""


def fetch_any(names: Sequence[str], revision: str | None) -> str:
    """The folder of a repository that has several names: that under which most of it is here already, or else the first
    one that the hub knows. Raises what `fetch` raises."""
    first, *others = sorted(names, key=lambda name: -weights_here(name, revision))
    try:
        return fetch(first, revision)
    except RepositoryNotFoundError as error:
        if not others or name_of(error) != "unknown":
            raise
        return fetch_any(others, revision)


def weights_here(repository: str, revision: str | None) -> int:
    """Bytes of weights in the cache; 0 for a name that can't be."""
    with suppress(HFValidationError, OSError):
        config = try_to_load_from_cache(repository, "config.json", revision=revision)
        if isinstance(config, str):
            return sum(file.stat().st_size for file in Path(config).parent.glob("*.safetensors"))
    return 0


def fetch(repository: str, revision: str | None) -> str:
    """The folder of the repository's files. Raises Problem and what huggingface_hub raises."""
    missing = inspect(repository, revision)
    return str(
        snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(FILES),
            ignore_patterns=["*/*"],
            tqdm_class=bar(missing),
        )
    )


def inspect(repository: str, revision: str | None) -> int:
    """Bytes that aren't here yet; 0 where nobody knows. Raises Problem before anything large is fetched."""
    try:
        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    except (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled, OSError, ValueError):
        return 0  # snapshot_download falls back on what is here, or says what is wrong
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or () if "/" not in file.rfilename}
    if not any(fnmatch(name, "*.safetensors") for name in sizes):
        raise Problem("pickle" if any(fnmatch(name, kind) for name in sizes for kind in PICKLES) else "weights")
    if "config.json" not in sizes:
        raise Problem("config")
    wanted = {name: size for name, size in sizes.items() if any(fnmatch(name, kind) for kind in FILES)}
    here = {name for name in wanted if isinstance(try_to_load_from_cache(repository, name, revision=info.sha), str)}
    missing = sum(size for name, size in wanted.items() if name not in here)
    room = free(Path(constants.HF_HUB_CACHE))
    if missing > room:
        say(needed=missing, free=room)
        raise OSError(errno.ENOSPC, "No space left on device")
    return missing


def free(folder: Path) -> int:
    """Bytes free where `folder` is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def bar(missing: int) -> type[tqdm[Any]]:
    """Progress bars that draw nothing and say how many of the `missing` bytes have come. huggingface_hub has two that
    count bytes, of what is received and of what is written: the one that is ahead is believed."""
    far = {"done": 0.0, "said": 0.0}

    class Bar(tqdm):  # type: ignore[misc, unused-ignore]
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": False, "file": _Nowhere(), "mininterval": 0.0})

        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            total = missing or self.total
            if self.unit == "B" and total and self.n > far["done"]:
                far["done"] = min(self.n, total)
                if time.monotonic() - far["said"] > TICK or self.n >= total:
                    far["said"] = time.monotonic()
                    say(done=far["done"], total=total)
            return shown

    return Bar


class _Nowhere:
    """A stream that swallows what a bar draws."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def name_of(error: BaseException) -> str:
    """The problem's name, for the sentence that people read."""
    if isinstance(error, Problem):
        return str(error)
    if isinstance(error, GatedRepoError):
        return "gated"
    if isinstance(error, RevisionNotFoundError):
        return "revision"
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return "unknown"
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, OfflineModeIsEnabled):
        return "offline"
    number = error.errno if isinstance(error, OSError) else None
    return "disk" if number in FULL else "folder" if number in CLOSED else "network"


def tidy(repository: str) -> None:
    """Removes what downloads that died left half-written long ago; a younger file may be another process's."""
    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model") / "blobs"
    for file in blobs.glob(HALF):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > STALE:
                file.unlink()


def tell_half_written(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: says where a file that isn't whole yet is about to be written, so that whoever ends this process
    removes it, and no other's."""
    if event == "open" and str(arguments[0]).endswith(HALF[1:]):
        _half_written.append(os.fsdecode(arguments[0]))
        say(half_written=_half_written[-1])


def leave_with_parent() -> None:
    """Ends this process when whoever started it is gone or wants no more."""
    sys.stdin.buffer.read()
    leave()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    revision, names = sys.argv[1] or None, sys.argv[2:]
    threading.Thread(target=leave_with_parent, daemon=True).start()
    sys.addaudithook(tell_half_written)
    try:
        for name in names:
            with suppress(HFValidationError, OSError):  # a name that can't be: fetching says so
                tidy(name)
        say(folder=fetch_any(names, revision))
    except Exception as error:  # the edge of the process
        say(problem=name_of(error), cause=repr(error))
    sys.stdout.flush()
    os._exit(0)  # a thread still waits for stdin


if __name__ == "__main__":
    main()
