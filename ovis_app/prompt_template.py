"""Prompts with places for columns, as in "Describe {product} in {language}".

A place is a column's name and nothing else, so that a table's text is never taken for code. `{{` and `}}` are braces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ovis_app.errors import BatchError
from ovis_app.generation import MAX_TEXT

PART = re.compile(r"\{\{|\}\}|\{([^{}]{0,200})\}|[{}]")


def column_name(name: str) -> str:
    """A column's name without case, spaces and marks around it."""
    return re.sub(r"[\s-]", "_", name.strip("\ufeff \t\r\n").casefold())


@dataclass(frozen=True)
class Template:
    """A text and the columns that it names. Raises BatchError where it makes no sense."""

    text: str

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise BatchError("The template is empty: write a question, with columns in braces.")
        for part in PART.finditer(self.text):
            if part[0] in "{}" or (part[1] is not None and not part[1].strip()):
                raise BatchError(f"The template has a lone brace at character {part.start() + 1}: write it twice.")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are named, as they were written."""
        return tuple(dict.fromkeys(part[1].strip() for part in PART.finditer(self.text) if part[1] is not None))

    def filled(self, values: Mapping[str, object], row: str) -> str:
        """The text with values in their places, by `column_name`. Raises BatchError for a column that isn't there, and
        where it gets longer than any question."""
        pieces, at, length = list[str](), 0, 0
        for part in PART.finditer(self.text):
            pieces += [self.text[at : part.start()], self._put(part, values, row)]
            at, length = part.end(), length + len(pieces[-1])
            if length > MAX_TEXT:
                raise BatchError(f"{row} fills the template with more than {MAX_TEXT:,} characters: shorten it.")
        return "".join([*pieces, self.text[at:]])

    def _put(self, part: re.Match[str], values: Mapping[str, object], row: str) -> str:
        if part[1] is None:
            return part[0][0]
        name = column_name(part[1])
        if name not in values:
            raise BatchError(f"{row} has no column “{part[1].strip()[:100]}”, which the template names.")
        value = values[name]
        if isinstance(value, str):
            return value
        return "" if value is None else json.dumps(value, ensure_ascii=False)
