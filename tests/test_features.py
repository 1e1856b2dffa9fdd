"""docs/features.md names tests that are there, counts rightly, and says what is missing where something is."""

from __future__ import annotations

import re

import pytest

from tests.named_tests import DOCS, missing, named

DOCUMENT = DOCS / "features.md"
ROW = re.compile(r"\| (\d+) \| [^|]+ \| (full|partly|none) \| ([^|]*) \| ([^|]*) \|")


def sections() -> list[tuple[str, list[tuple[str, ...]]]]:
    parts = DOCUMENT.read_text(encoding="utf-8").split("\n## ")[1:]
    return [(part, [found.groups() for found in map(ROW.fullmatch, part.splitlines()) if found]) for part in parts]


@pytest.mark.parametrize(("place", "rows"), [(0, 55), (1, 15), (2, 18)])
def test_rows_are_counted_and_say_what_shows_them_or_what_is_missing(place: int, rows: int) -> None:
    text, found = sections()[place]
    assert [int(number) for number, *_ in found] == list(range(1, rows + 1))
    states = [state for _, state, *_ in found]
    assert f"{states.count('full')} full, {states.count('partly')} partly, {states.count('none')} none." in text
    for number, state, shown, rest in found:
        assert bool(shown) == (state != "none") and bool(rest.strip()) == (state != "full"), number


def test_every_test_that_is_named_is_there() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert named(text) and missing(text) == []
