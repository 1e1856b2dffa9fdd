"""What a tab asks of the models: which there are, for this machine or a graphics card, and that another one answers.

What comes from a browser is input: it is checked here, before anything is done with it. Knows the shape of what is
asked; refuses to know who may ask it, and which models there are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ovis_app.errors import RequestError
from ovis_app.ui.panels.models import WAYS

NO_CHOICE = "That is no choice of a model: reload the page, and choose again."
NO_WAY = "A model's weights can be as released, in 8 bits or in 4: choose one of these."
MOST_NAME = 4096  # characters, as a folder's path may have
MOST_MEMORY = 100  # characters
CARD = re.compile(r"\s*([0-9]{1,4}(?:[.,][0-9])?)\s*(?:GB|GiB|G)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Wanted:
    """A model by a name, empty where none was chosen, and in which of its ways; None: as the process was told to."""

    name: str
    way: str | None


def wanted(asked: object) -> Wanted:
    """Which model is to answer. Raises RequestError."""
    fields = _fields(asked)
    way = fields.get("way")
    if not (way is None or (isinstance(way, str) and way in WAYS)):
        raise RequestError(NO_WAY)
    return Wanted(_text(fields, "name", MOST_NAME).strip(), way)


def card(asked: object) -> int | None:
    """Bytes of the card that is meant; None where none is. Raises RequestError."""
    return card_memory(_text(_fields(asked), "card", MOST_MEMORY))


def card_memory(written: str) -> int | None:
    """Bytes of a card's memory as people write it; None where that is none."""
    amount = CARD.fullmatch(written)
    size = float(amount[1].replace(",", ".")) if amount else 0.0
    return round(size * 1e9) if size else None


def _fields(asked: object) -> dict[str, Any]:
    if not isinstance(asked, dict):
        raise RequestError(NO_CHOICE)
    return asked


def _text(fields: dict[str, Any], name: str, most: int) -> str:
    """A text of what is asked; empty where there is none. Raises RequestError."""
    value = fields.get(name) or ""
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        raise RequestError(NO_CHOICE)
    return value
