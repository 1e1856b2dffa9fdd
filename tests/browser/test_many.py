"""Many questions in the page, as a person asks them: a German Excel's table and its pictures, left and gone on with,
and taken along."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser.test_page import LEFT, SHAPES
from tests.ui.serving import Served

Open = Callable[..., Any]
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "color_scheme": "dark"}
TABLE = "Nr;Bild;Ding\r\n1;shapes.png;held Würfel\r\n2;fehlt.png;Stern\r\n3;shapes.png;Ring\r\n"


def counts(tab: Any, words: str) -> None:
    tab.wait_for_function("w => document.querySelector('.many-counts')?.innerText.startsWith(w)", arg=words)


def test_a_table_is_asked_row_by_row_left_and_taken_along(open_tab: Open, server: Served, tmp_path: Path) -> None:
    (tmp_path / "Fragen.csv").write_bytes(TABLE.encode("cp1252"))
    tab = open_tab()
    tab.click(".many-opens")
    tab.set_input_files(".many-files-chooser", [tmp_path / "Fragen.csv", SHAPES])
    tab.wait_for_selector(".many-notice.many-failed >> text=No column of Fragen.csv is known")
    tab.select_option(".many select", "Bild")
    tab.fill(".many-field textarea", "Is this a ")
    tab.click(".many-column >> text=Ding")
    tab.wait_for_selector(".many .primary >> text=Ask 2 questions")
    assert tab.locator(".many-table tbody .many-words").first.inner_text() == "Is this a held Würfel"
    assert "“Fragen.csv” isn't UTF-8 and was read as Windows-1252" in tab.inner_text(".many-notice")
    asked = len(server.backend.requests)
    for event in (server.backend.answer, server.backend.finish):
        event.clear()
    tab.click(".many .primary")
    tab.wait_for_selector(".many-asked")
    tab.keyboard.press("Escape")
    tab.wait_for_selector(".many-chip >> text=0 of 3 answered, 1 failed")
    tab.reload()
    tab.wait_for_selector(".many-chip >> text=0 of 3 answered, 1 failed")
    for event in (server.backend.answer, server.backend.finish):
        event.set()
    tab.click(".many-opens")
    counts(tab, "2 of 3 answered, 1 failed")
    [told] = [one.conversation.messages[-1] for one in server.backend.requests[asked:]]  # that isn't held
    assert (told.text, told.media[0].label) == ("Is this a Ring", "shapes.png")
    assert "no file “fehlt.png” among those that were given" in tab.inner_text(".many tr.failed")
    with tab.expect_download() as taken:
        tab.click(".many .jsonl")
    first, *_ = [json.loads(line) for line in taken.value.path().read_text("utf-8").splitlines()]
    assert (first["prompt"], first["media"], first["finish"]) == ("Is this a held Würfel", ["shapes.png"], "end")
    assert first["text"]
    tab.click(".many .anew")
    tab.click(".ovis-dialog >> text=Forget them")
    tab.wait_for_selector(".many-drop")


def test_on_a_phone_pictures_are_asked_one_question(open_tab: Open) -> None:
    tab = open_tab(**PHONE)
    tab.tap(".many-opens")
    tab.set_input_files(".many-files-chooser", [SHAPES, LEFT])
    tab.wait_for_selector("text=Write a question that is asked about each file.")
    tab.fill(".many-field textarea", "What is {file}?")
    tab.tap(".many .primary:not(:disabled)")
    counts(tab, "2 of 2 answered")
    assert tab.evaluate("document.querySelector('.many-body').scrollWidth <= innerWidth")
    small = "[...document.querySelectorAll('.many button')].filter((one) => one.offsetHeight && one.offsetHeight < 44)"
    assert tab.evaluate(f"{small}.map((one) => one.innerText)") == []
    tab.keyboard.press("Escape")
    tab.wait_for_selector("dialog.many", state="detached")
    assert tab.locator(".many-chip:visible").count() == 0
