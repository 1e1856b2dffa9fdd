"""How a checkpoint did when `ovis doctor` last looked: kept in the app's own folder, found again by the very files.

Knows a folder and a few numbers; refuses to know what was looked at. Nothing of it leaves this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from ovis_app.backend import Examination

Files = tuple[tuple[str, int, int, int], ...]  # of a checkpoint, with what tells whether they are still the same


def folder() -> Path:
    """The app's own, where other programs keep theirs."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111 - Path's own raises
    return Path(state) / "ovis-app" / "examinations"


def keep(files: Files, found: Examination) -> None:
    """For the next time that these files are loaded; where nothing can be written nothing is kept. A look at the files
    alone leaves a whole one as it is."""
    before = kept(files) if found.quick else None
    if before is not None and not before.quick:
        return
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        _file(files).write_text(json.dumps(asdict(found)), encoding="utf-8")


def kept(files: Files) -> Examination | None:
    """How these very files did; None where nobody looked."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        told = json.loads(_file(files).read_text(encoding="utf-8"))
        lines, judged, unexpected = (int(told[name]) for name in ("lines", "judged", "unexpected"))
        return Examination(str(told["day"])[:10], lines, judged, unexpected, bool(told["quick"]))
    return None


def _file(files: Files) -> Path:
    return folder() / f"{hashlib.sha256(repr(files).encode()).hexdigest()[:32]}.json"
