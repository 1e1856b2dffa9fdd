"""Tests that a document names as `file::test`, with paths under tests/: which there are, and which aren't."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
NAMED = re.compile(r"`([^`\n]+)::([^`\n]+)`")


def named(text: str) -> list[tuple[str, str]]:
    """(file, test) of each that is named."""
    return [(found[1], found[2]) for found in NAMED.finditer(text)]


def missing(text: str) -> list[str]:
    """Those that aren't there."""
    return [f"{file}::{name}" for file, name in named(text) if not _there(TESTS / file, name)]


def _there(file: Path, name: str) -> bool:
    written = file.read_text(encoding="utf-8") if file.is_file() else ""
    return f"def {name}(" in written or f'test("{name}"' in written
