"""What an answer names in pictures: phrases and boxes that light each other up, on the right picture, and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tests.browser.test_page import LEFT, RIGHT, SHAPES, ask, until
from tests.ui.serving import Served

Open = Callable[..., Any]
WORDS = ".bot-row:last-child > .words"
CUP = "<ref>cup</ref><box>(0.1,0.2),(0.5,0.6)</box>"
DOTS = "<ref>dots</ref>[<box>(0.9,0.9),(0.7,0.6)</box>, <box>(0.6,0.1),(1.01,0.3)</box>]"
TAG = "/<\\/?[rbp]|\\(0?\\.\\d|[\\ufdd0-\\ufdef]/"


def answered(tab: Any, words: str, files: list[Path]) -> None:
    ask(tab, words, files)
    tab.wait_for_selector(".bot-row:last-child .marks .stage")
    tab.wait_for_function("() => [...document.querySelectorAll('.marks img')].every((one) => one.naturalWidth > 0)")
    tab.wait_for_selector(f"{WORDS} .block")


def lit(tab: Any, kind: str) -> list[str]:
    return [one.get_attribute("data-marks") for one in tab.locator(f"{WORDS} {kind}.lit, .marks {kind}.lit").all()]


def over(tab: Any, mark: str, picture: str = ".marks .stage") -> list[float]:
    """Where a box lies, in shares of its picture."""
    box, stage = tab.locator(mark).bounding_box(), tab.locator(picture).bounding_box()
    return [
        round((box["x"] - stage["x"]) / stage["width"], 2), round((box["y"] - stage["y"]) / stage["height"], 2),
        round(box["width"] / stage["width"], 2), round(box["height"] / stage["height"], 2),
    ]  # fmt: skip


def test_phrases_and_boxes_light_each_other_up_by_pointer_and_by_keys(open_tab: Open) -> None:
    tab = open_tab(viewport={"width": 1280, "height": 800})
    answered(tab, f"A **{CUP}**, {DOTS} and `<ref>a</ref>`; a <ref>tip</ref><point>(0.5,0.5)</point>", [SHAPES])
    assert "A cup, dots and <ref>a</ref>; a tip" in "".join(tab.inner_text(WORDS).split("\n"))
    numbers = "(all) => all.map((one) => getComputedStyle(one, '::after').content)"
    assert tab.locator(f"{WORDS} .phrase").evaluate_all(numbers) == ['"1"', '"2–3"', '"4"']
    assert tab.locator(f"{WORDS} strong .phrase").count() == 1 and tab.locator(".marks .mark").count() == 4
    seen_through = "[...document.querySelectorAll('.marks .mark')].map((one) => getComputedStyle(one).backgroundColor)"
    assert set(tab.evaluate(seen_through)) == {"rgba(0, 0, 0, 0)"}
    assert over(tab, ".mark[data-marks='1']") == [0.1, 0.2, 0.4, 0.4]
    assert over(tab, ".mark[data-marks='2']") == [0.7, 0.6, 0.2, 0.3]
    assert over(tab, ".mark[data-marks='3']") == [0.6, 0.1, 0.4, 0.2]
    tab.hover(".phrase[data-marks='2 3']")
    assert sorted(lit(tab, ".mark")) == ["2", "3"]
    tab.hover(".mark[data-marks='1']", position={"x": 5, "y": 5})
    assert lit(tab, ".phrase") == ["1"] and lit(tab, ".mark") == ["1"]
    tab.mouse.move(5, 5)
    assert lit(tab, ".phrase") == []
    tab.focus(".phrase[data-marks='1']")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("document.activeElement.dataset.marks") == "2 3" and sorted(lit(tab, ".mark")) == ["2", "3"]
    tab.keyboard.press("Enter")
    tab.focus("#box textarea")
    assert sorted(lit(tab, ".mark")) == ["2", "3"]  # what was pressed stays lit
    assert tab.get_attribute(".phrase[data-marks='2 3']", "aria-pressed") == "true"
    tab.focus(".mark[data-marks='4']")
    assert lit(tab, ".phrase") == ["4"]
    assert tab.locator(".phrase[tabindex='0']").count() == 1 and tab.locator(".mark[tabindex='0']").count() == 1


def test_no_tag_is_seen_while_an_answer_comes(tab: Any, server: Served) -> None:
    tab.evaluate(f"""() => {{
      window.seen = [];
      new MutationObserver(() => {{
        const words = document.querySelector('{WORDS}')?.textContent ?? '';
        if ({TAG}.test(words)) window.seen.push(words);
      }}).observe(document.querySelector('.turns'), {{ childList: true, subtree: true, characterData: true }});
    }}""")
    server.backend.delay = 0.02
    try:
        spaced = f"think {CUP} {DOTS}".replace("><", "> <").replace(",(", ", (")
        answered(tab, " ".join([spaced] * 4), [SHAPES])
    finally:
        server.backend.delay = 0.0
    assert tab.locator(".phrase").count() == 8 and tab.evaluate("window.seen") == []
    tab.reload()
    tab.wait_for_function("() => document.querySelectorAll('.phrase').length === 8")
    tab.wait_for_function("() => document.querySelectorAll('.marks .mark').length === 12")


def test_boxes_lie_on_the_picture_that_is_named_or_chosen(tab: Any) -> None:
    answered(tab, f"{CUP} {DOTS}", [LEFT, RIGHT])
    assert "doesn't say which picture" in tab.inner_text(".marks")
    assert tab.locator(".marks figure").count() == 1
    tab.select_option(".marks select", label="Image 2: right.png")
    tab.wait_for_function("() => document.querySelector('.marks img').alt.startsWith('Image 2: right.png with cup')")
    assert "doesn't say" not in tab.inner_text(".marks")
    answered(tab, f"Image 1: {CUP}\nImage 2: {DOTS}", [LEFT, RIGHT])
    alts = [one.get_attribute("alt") for one in tab.locator(".bot-row:last-child .marks img").all()]
    assert alts == ["Image 1: left.png with cup marked", "Image 2: right.png with dots marked"]


def test_boxes_are_kept_as_coco_and_as_a_picture(tab: Any, tmp_path: Path) -> None:
    Image.new("RGB", (400, 200), "black").save(tmp_path / "night.v2.png")
    answered(tab, f"{CUP} {CUP.replace('0.1', '0.6').replace('0.5', '0.9')}", [tmp_path / "night.v2.png"])
    with tab.expect_download() as found:
        tab.click(".save-coco")
    assert found.value.suggested_filename == "night.v2.coco.json"
    data = json.loads(Path(found.value.path()).read_text("utf-8"))
    assert data["images"] == [{"id": 1, "file_name": "night.v2.png", "width": 400, "height": 200}]
    assert [one["name"] for one in data["categories"]] == ["cup"]
    assert [one["bbox"] for one in data["annotations"]] == [[40, 40, 160, 80], [240, 40, 120, 80]]
    with tab.expect_download() as found:
        tab.click(".save-png")
    drawn = Image.open(found.value.path()).convert("RGB")
    assert drawn.format is None and drawn.size == (400, 200)
    assert drawn.getpixel((40, 100)) != (0, 0, 0) and drawn.getpixel((120, 90)) == (0, 0, 0)


def test_an_answer_with_fifty_boxes_stays_usable(open_tab: Open) -> None:
    tab = open_tab(viewport={"width": 390, "height": 800}, has_touch=True, color_scheme="dark")
    one = "<ref>dot {}</ref><box>(0.{}1,0.{}2),(0.{}8,0.{}9)</box>"
    answered(tab, ", ".join(one.format(i, i % 10, i // 10, i % 10, i // 10) for i in range(50)), [SHAPES])
    assert tab.locator(".marks .mark").count() == 50
    assert tab.evaluate("document.querySelector('.scroll').scrollWidth <= 390")
    assert tab.locator(".marks .mark i:visible").count() == 0  # numbers alone, until one is meant
    tab.tap(".phrase[data-marks='38']")
    assert lit(tab, ".mark") == ["38"]
    until(tab, lambda: tab.locator(".marks .mark.lit").bounding_box()["y"] < 800)
    assert tab.locator(".marks .mark i:visible").inner_text().strip() == "dot 37"
    tab.tap(".phrase[data-marks='38']")
    assert lit(tab, ".mark") == []
