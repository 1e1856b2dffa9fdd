"""How people ask about the drawn world and how mini answers, read from wordings/*.json.

Knows the form of those files only. Refuses to know scenes, tokens or what is true of a picture.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tongue:
    """One language. The first name in a row is the one that answers use; people may say the others."""

    cells: dict[str, list[str]]
    colors: dict[str, list[str]]
    kinds: dict[str, list[str]]
    ways: dict[str, list[str]]
    asks: dict[str, list[str]]
    answers: dict[str, str]
    chat: list[dict[str, object]]  # {"asked": [...], "answer": ...}
    attach: str
    systems: list[str]


def _read(language: str) -> Tongue:
    path = Path(__file__).parent / "wordings" / f"{language}.json"
    return Tongue(**json.loads(path.read_text(encoding="utf-8")))


TONGUES = {language: _read(language) for language in ("en", "zh")}
ENGLISH, CHINESE = TONGUES["en"], TONGUES["zh"]
