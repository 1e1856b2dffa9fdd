"""A page as Markdown, beside its picture: it grows, is stopped and goes on, and is taken along with its figures."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser.test_page import SHAPES, attach, until
from tests.media.made_pdf import pdf, quarters
from tests.ui.serving import Served

Open = Callable[..., Any]
BENCH = "dialog.workbench[open]"
TEXT = f"{BENCH} .bench-text"
STATUS = f"{BENCH} .bench-reading p"
FIGURE = '<img src="images/bbox_0_0_500_500.jpg" />'
BILL = (
    "# Bill\n\n<table><tr><td>cup</td><td>12.5</td></tr></table>\n\n$$x^2+1$$\n\n", FIGURE[:25], FIGURE[25:],
    "\n\n<script>window.run = 1</script>\n\nPaid.",
)  # fmt: skip


def said(tab: Any, words: str) -> None:
    until(tab, lambda: words in tab.inner_text(STATUS))


def test_a_picture_is_read_beside_it_and_taken_along(tab: Any, server: Served, tmp_path: Path) -> None:
    server.backend.pages["bill.png"] = BILL
    shutil.copy(SHAPES, tmp_path / "bill.png")
    attach(tab, [tmp_path / "bill.png"])
    tab.click("#box .opens")
    tab.click(".viewer .read-page")
    said(tab, "Read to its end")
    tab.wait_for_selector(f"{TEXT} .katex")
    assert tab.inner_text(f"{TEXT} h1") == "Bill" and tab.inner_text(f"{TEXT} td >> nth=1") == "12.5"
    assert "<script>" in tab.inner_text(TEXT).replace("< ", "<") and not tab.evaluate("'run' in window")
    size = "document.querySelector('dialog.workbench .read-figure')?.naturalWidth"
    until(tab, lambda: tab.evaluate(size) == 128)  # half of the picture's
    asked = len(server.backend.requests)
    tab.reload()
    tab.click("#box .opens")
    tab.click(".viewer .read-page")
    said(tab, "Read to its end")
    until(tab, lambda: tab.evaluate(size) == 128)
    assert tab.inner_text(f"{TEXT} h1") == "Bill" and len(server.backend.requests) == asked
    with tab.expect_download() as found:
        tab.click(f"{BENCH} .download")
    assert found.value.suggested_filename == "bill.zip"
    with zipfile.ZipFile(Path(found.value.path())) as folder:
        document, figure = folder.namelist()
        text = folder.read(document).decode()
    assert document == "bill.md" and f'src="{figure}"' in text and text.startswith("<!-- bill.png -->")
    tab.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
    tab.click(f"{BENCH} .bench-take .copy")
    tab.wait_for_function("(text) => window.copied === text", arg=text.strip())
    tab.click(f"{BENCH} .read-put")
    tab.wait_for_selector("dialog.workbench", state="detached")
    tab.wait_for_selector("#conversation .bot-row h1:has-text('Bill')")
    assert "Read bill.png." in tab.inner_text("#conversation .user-row")
    assert "Figure 1" in tab.inner_text("#conversation .bot-row") and "<img" not in tab.inner_text("#conversation")
    tab.reload()
    tab.wait_for_selector("#conversation .bot-row h1:has-text('Bill')")
    assert tab.locator("#conversation .user-row img").count() == 1


def test_pages_are_read_one_after_the_other_and_go_on_after_stop(
    open_tab: Open, server: Served, tmp_path: Path
) -> None:
    tab = open_tab(viewport={"width": 390, "height": 780}, has_touch=True, color_scheme="dark")
    report = tmp_path / "report.pdf"
    report.write_bytes(pdf([quarters(300 + 10 * n) for n in range(12)]))
    names = [f"report.pdf page {n}" for n in range(1, 13)]
    server.backend.pages |= {name: (f"Text of {name}.",) for name in names}
    server.backend.pages[names[10]] = ("Half of page 11.", "held", "")
    server.backend.finish.clear()
    tab.set_input_files("#box input[type=file]", str(report))
    tab.wait_for_function("() => document.querySelectorAll('#box .thumbnail-item').length === 12")
    tab.locator("#box .opens").first.tap()
    tab.locator(".ovis-panel input[type=text]").fill("2,11-12")
    tab.locator(".ovis-panel .read-page").tap()
    said(tab, "Reading 2 of 3: ")
    until(tab, lambda: "Half of page 11." in tab.inner_text(TEXT))
    tab.locator(f"{BENCH} .read-stop").tap()
    said(tab, "1 of 3 pages are read")
    until(tab, lambda: server.backend.live == 0)
    small = tab.evaluate(
        """(at) => [...document.querySelectorAll(at)].filter((e) => e.offsetParent && (e.offsetHeight < 44
           || e.offsetWidth < 44 || e.getBoundingClientRect().right > innerWidth)).map((e) => e.className)""",
        f"{BENCH} :is(button, input)",
    )
    assert small == []
    tab.keyboard.press("Escape")
    asked = len(server.backend.requests)
    server.backend.finish.set()
    tab.locator("#box .opens").first.tap()
    tab.locator(".ovis-panel .quiet:has-text('large')").tap()
    tab.locator(".viewer .read-page").tap()  # of page 1
    said(tab, "1 of 1 pages are read")
    tab.locator(f"{BENCH} .bench-reading input").fill("1-2,11-12")
    said(tab, "2 of 4 pages are read")
    tab.locator(f"{BENCH} .bench-reading .primary:has-text('Continue')").tap()
    said(tab, "4 of 4 pages are read")
    read = [one.conversation.messages[-1].media[0].label for one in server.backend.requests[asked:]]
    assert read == [names[0], names[10], names[11]], "what was read isn't read again"
    with tab.expect_download() as found:
        tab.locator(f"{BENCH} .download").tap()
    assert found.value.suggested_filename == "report.md"
    text = Path(found.value.path()).read_text("utf-8")
    order = [text.index(words) for words in ("Text of report.pdf page 1.", "page 2.", "Half of page 11.", "page 12.")]
    assert order == sorted(order) and text.count("page 2.") == 1
