"""docs/reliability.md has every figure and every finding of the attack, each with what holds it, and that is there."""

from __future__ import annotations

import re

from benchmarks.soak.__main__ import NAMES
from tests.named_tests import DOCS, missing, named

TEXT = (DOCS / "reliability.md").read_text(encoding="utf-8")
FIGURES = [f"F{number}" for number in range(1, 23)]
FOUND = ("C1", "C1b", "H1", "H2", "H3", "H4", "M1", "M2", "M3", "M4", "M5", "F2", "F10", "F20", "F21", "L")


def rows(title: str) -> dict[str, list[str]]:
    """The cells of a section's table, by what stands first."""
    section = TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if re.match(r"\| [A-Z]\d*b? \|", line)]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in lines}


def test_every_figure_has_a_target_a_way_to_repeat_it_and_what_was_measured() -> None:
    figures = rows("Figures")
    assert list(figures) == FIGURES
    for name, (what, target, repeat, measured, _) in figures.items():
        assert what and target and repeat and measured, name
        assert named(repeat) or f"--only {name}`" in repeat, name
    assert {name for name in FIGURES if f"--only {name}`" in figures[name][2]} == set(NAMES)


def test_every_finding_of_the_attack_is_held_by_a_test_or_the_soak() -> None:
    found = rows("Attacked, and mended")
    assert list(found) == list(FOUND)
    for name, (what, held) in found.items():
        assert what and (named(held) or "--only" in held), name


def test_no_section_is_empty() -> None:
    sections = re.split(r"^## (.+)\n", TEXT, flags=re.M)[1:]
    assert [title for title, text in zip(sections[::2], sections[1::2], strict=True) if not text.strip()] == []


def test_every_test_that_is_named_is_there() -> None:
    assert named(TEXT) and missing(TEXT) == []
