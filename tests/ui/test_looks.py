"""The page looks like one hand made it: colours, sizes of type, roundness and gaps stand in one sheet."""

from __future__ import annotations

import re

from ovis_app.ui.static_files import STATIC

SHEETS = {
    file.name: re.sub(r"/\*.*?\*/", "", file.read_text("utf-8"), flags=re.DOTALL)
    for file in sorted([*STATIC.glob("*.css"), *(STATIC / "page").glob("*.css")])
}
OWN = re.compile(
    r"#[0-9a-f]{3,8}\b(?=[^{}]*;)|\brgba?\([^)]*\)"
    r"|(?<![\w-])(?:font-size|border-radius|gap): [1-9][\d.]*px"
)
USED = re.compile(r"var\((--(?:gap|round|type|shadow|night|mark|on-mark|code|i)-[\w-]+)")


def test_no_sheet_has_looks_of_its_own() -> None:
    tokens = SHEETS["tokens.css"]
    own = [f"{name}: {found}" for name, text in SHEETS.items() if name != "tokens.css" for found in OWN.findall(text)]
    assert not own, "what belongs into tokens.css:\n" + "\n".join(own)
    used = {token for text in SHEETS.values() for token in USED.findall(text)}
    assert not [name for name, text in SHEETS.items() if re.search(r"[\w-]:\s*;", text)], "a look without a value"
    assert len(used) > 40 and not {token for token in used if f"{token}:" not in tokens}


def test_every_bar_of_progress_has_the_colour_of_the_page() -> None:
    rules = "\n".join(SHEETS.values())
    bars = re.findall(r"^([^{}\n]*(?<![\w-])progress) \{", rules, re.MULTILINE)
    engines = ("-webkit-progress-value", "-moz-progress-bar")
    wanted = [f"{bar}::{engine} {{ background: var(--color-accent); }}" for bar in bars for engine in engines]
    assert len(bars) > 3 and not [rule for rule in wanted if rule not in rules]
