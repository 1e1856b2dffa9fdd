"""An answer beside the picture that it is about: the text is found in and taken along, pages follow each other."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser.test_page import LEFT, RIGHT, SHAPES, ask, do, until

Open = Callable[..., Any]
BENCH = "dialog.workbench[open]"
TEXT = f"{BENCH} .bench-text"
TABLE = "\n\n|Item|Sum|\n|---|---|\n|=1+1|12.5|\n|**cup**|007|\n\n"
PAGE = (
    "Total amount and $x^2+1$ of it. <ref>the total</ref><box>(0.1,0.1),(0.5,0.5)</box>" + TABLE + "The total  amount."
)
COPIED = """() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }"""


def opened(tab: Any, answer: int = -1) -> None:
    tab.locator(".bot-row button.more").nth(answer).click()
    tab.click(".ovis-menu .workbench")
    tab.wait_for_selector(BENCH)


def shown(tab: Any) -> str:
    return " ".join(tab.inner_text(f"{BENCH} .bench-head").split())


def test_the_text_is_found_in_and_taken_along(tab: Any) -> None:
    ask(tab, PAGE, [SHAPES])
    tab.evaluate(COPIED)
    opened(tab)
    assert shown(tab) == "shapes.png" and tab.evaluate("document.activeElement.matches('.bench-find')")
    tab.wait_for_selector(f"{TEXT} .katex")
    assert "<ref>" not in tab.inner_text(TEXT) and "the total" in tab.inner_text(TEXT)
    tab.keyboard.type("TOTAL amount")
    until(tab, lambda: tab.inner_text(f"{BENCH} .bench-count") == "1 of 2")
    tab.keyboard.press("Enter")
    assert tab.inner_text(f"{BENCH} .bench-count") == "2 of 2"
    assert tab.evaluate("[...CSS.highlights.get('ovis-found')].map(String)") == ["Total amount", "total  amount"]
    tab.fill(f"{BENCH} .bench-find", "nowhere")
    until(tab, lambda: tab.inner_text(f"{BENCH} .bench-count") == "Not found")
    tab.click(f"{TEXT} .copy-latex")
    tab.wait_for_function("() => window.copied === 'x^2+1'")
    with tab.expect_download() as found:
        tab.click(f"{TEXT} .download-xlsx")
    assert found.value.suggested_filename == "table.xlsx"
    with zipfile.ZipFile(Path(found.value.path())) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert ">=1+1</t>" in sheet and '<c r="B2"><v>12.5</v></c>' in sheet and ">cup</t>" in sheet and ">007</t>" in sheet
    tab.click(f"{TEXT} .copy-html")
    tab.wait_for_function("() => window.copied.startsWith('<table>') && window.copied.includes('<td>=1+1</td>')")
    tab.click(f"{BENCH} .bench-tools .raw")
    until(tab, lambda: "|---|---|" in tab.inner_text(TEXT) and "<ref>the total</ref>" in tab.inner_text(TEXT))
    tab.click(f"{BENCH} .bench-tools .copy")
    tab.wait_for_function("() => window.copied.includes('<ref>the total</ref>')")
    tab.keyboard.press("Escape")
    tab.wait_for_selector("dialog.workbench", state="detached")
    assert tab.evaluate("CSS.highlights.size") == 0 and "Show as written" in tab.get_attribute(".bot-row .raw", "title")
    assert tab.locator(".bot-row .copy-latex").count() == 0  # the conversation is as it was


def test_pages_follow_each_other_with_their_answers(open_tab: Open) -> None:
    tab = open_tab(viewport={"width": 390, "height": 780}, has_touch=True, color_scheme="dark")
    ask(tab, "first", [LEFT, RIGHT])
    ask(tab, "between")
    ask(tab, "second", [SHAPES])
    do(tab, ".bot-row:nth-last-of-type(3) button.more")
    assert tab.locator(".ovis-menu .workbench").count() == 0  # of no picture
    tab.keyboard.press("Escape")
    opened(tab, 0)
    assert shown(tab) == "Image 1: left.png 1 of 3" and "You said: first" in tab.inner_text(TEXT)
    tab.tap(f"{BENCH} .forth")
    until(tab, lambda: shown(tab) == "Image 2: right.png 2 of 3")
    tab.tap(f"{BENCH} .forth")
    until(tab, lambda: shown(tab) == "shapes.png 3 of 3" and "You said: second" in tab.inner_text(TEXT))
    wide = tab.locator(f"{BENCH} .stage").bounding_box()["width"]
    tab.tap(f"{BENCH} .tools .larger")
    assert tab.locator(f"{BENCH} .stage").bounding_box()["width"] > 1.4 * wide
    small = tab.evaluate(
        """(at) => [...document.querySelectorAll(at)].filter((e) => e.offsetParent && (e.offsetHeight < 44
           || e.offsetWidth < 44 || e.getBoundingClientRect().right > innerWidth)).map((e) => e.className)""",
        f"{BENCH} button",
    )
    assert small == []
    tab.tap(f"{BENCH} .bench-head .close")
    tab.wait_for_selector("dialog.workbench", state="detached")
