"""Tiny checkpoints of each family that say what released ones say, in folders that a test may spoil."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ovis_app.zoo import MINI_FOLDER
from tests import experts
from tests.checkpoints.test_layouts import native

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
FAMILIES = ("ovis1.6", "ovis2", "ovis2.5", "ovis2.6", "native", "mini")


def honest(family: str, folder: Path) -> Path:
    """A checkpoint in `folder`, which isn't there yet."""
    if family == "ovis2.6":
        experts.checkpoint(folder)
    elif family == "native":
        native(folder)
    else:
        source = GOLDEN / family / "public-a" / "checkpoint" if family != "mini" else MINI_FOLDER
        shutil.copytree(source, folder)
    if family in ("ovis2.5", "ovis2.6", "native"):  # their cases were recorded with an invented filter
        edit(folder / "preprocessor_config.json", lambda facts: facts.update(resample=2))
    return folder


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    facts = json.loads(file.read_text("utf-8"))
    change(facts)
    file.write_text(json.dumps(facts), "utf-8")
