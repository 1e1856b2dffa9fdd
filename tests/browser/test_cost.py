"""What a question takes is seen before it is asked, and a thought can be ended and given more room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.test_page import LEFT, RIGHT, SHAPES, ask, attach, figures, says
from tests.ui.serving import Served

Open = Callable[..., Any]
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "color_scheme": "dark"}


def line(tab: Any, words: str) -> None:
    tab.wait_for_selector(f"#cost:not(.stale) summary:has-text('{words}')")


@pytest.mark.parametrize("size", [{}, PHONE], ids=["desktop", "phone"])
def test_a_question_says_what_it_takes_and_a_long_picture_is_split(
    open_tab: Open, server: Served, size: dict[str, Any], tmp_path: Path
) -> None:
    tab = open_tab(**size)
    tab.evaluate("localStorage.removeItem('ovis-pace')")
    tab.fill("#box textarea", "What is in these?")
    attach(tab, [LEFT, RIGHT])
    line(tab, "140 tokens")  # nobody answered here yet: no seconds
    assert "about" not in tab.inner_text("#cost summary")
    assert "64 visual tokens, read at" in tab.get_attribute("#box .thumbnail-item >> nth=1 >> img", "title")
    tab.click("#cost summary")
    told = tab.inner_text("#cost ul")
    assert "Text so far: 12 tokens" in told and "Pictures: 128 tokens" in told and "3,956 of 4,096 tokens" in told
    tab.press("#box textarea", "Enter")
    figures(tab, 1)
    tab.wait_for_selector("#cost", state="hidden")
    long = tmp_path / "long.png"
    Image.new("RGB", (200, 4000), "white").save(long)
    attach(tab, [long])
    line(tab, "about")
    assert "200 × 4000 is read at" in tab.inner_text("#cost .advice")
    tab.click("#cost .split")
    tab.wait_for_selector("#cost .split", state="detached")
    tab.press("#box textarea", "Enter")
    figures(tab, 2)
    assert server.backend.requests[-1].settings.split is True
    assert tab.evaluate("document.documentElement.scrollWidth") <= (size.get("viewport") or {"width": 1280})["width"]


def test_a_thought_is_ended_and_one_that_used_its_budget_up_goes_twice_as_far(tab: Any, server: Served) -> None:
    backend = server.backend
    backend.answer.clear(), backend.finish.clear()
    tab.fill("#box textarea", "held")
    tab.press("#box textarea", "Enter")
    tab.wait_for_selector(".thought summary:has-text('5 of 512 tokens')")
    assert tab.get_attribute(".ends progress", "max") == "512"
    tab.click(".ends .hurry")
    says(tab, "It is a circle.")
    tab.wait_for_selector(".ends", state="hidden")
    backend.finish.set()
    figures(tab, 1)
    backend.finish.clear()
    assert tab.locator(".longer").count() == 0
    ask(tab, "ponder")
    tab.wait_for_selector(".thought summary:has-text('all 256 tokens of its budget')")
    before = backend.requests[-1].settings
    tab.click(".longer")
    tab.wait_for_selector(".thought summary:has-text('all 512 tokens of its budget')")
    after = backend.requests[-1].settings
    assert (after.thinking_budget, after.max_new_tokens) == (512, before.max_new_tokens + 256)
    tab.wait_for_selector(".versions:has-text('2/2')")


def test_what_the_small_model_does_not_know_is_said_before_it_guesses(tab: Any, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    slope = Image.linear_gradient("L")
    Image.merge("RGB", [slope, slope.rotate(90), Image.radial_gradient("L")]).save(photo)
    attach(tab, [SHAPES])
    tab.fill("#box textarea", "How many shapes are there?")
    line(tab, "76 tokens")
    assert tab.is_hidden("#cost .advice")
    attach_more(tab, photo)
    tab.wait_for_selector("#cost .advice:has-text('This looks like a photo. Ovis-mini knows simple drawings')")
    tab.click("#cost .open-models")
    tab.wait_for_selector("body.models-open")
    tab.keyboard.press("Escape")
    for _ in range(2):
        tab.locator("#box .delete-button").last.click()
    tab.fill("#box textarea", "Translate this invoice.")
    tab.wait_for_selector("#cost .advice:has-text('That is about more than drawings.')")
    tab.fill("#box textarea", "")
    tab.wait_for_selector("#cost", state="hidden")


def attach_more(tab: Any, file: Path) -> None:
    tab.set_input_files("#box input[type=file]", [str(file)])
    tab.wait_for_selector("#box .thumbnail-item >> nth=1")
    tab.wait_for_selector("#box progress", state="detached")


def test_what_does_not_fit_says_so_and_what_to_do(tab: Any) -> None:
    told = {"prompt": 5000, "visual": 4900, "room": 4096, "dropped": 0, "files": []}
    answers: list[Any] = [told, {**told, "prompt": 4000, "visual": 20}, {"refused": "That is too long."}, {}]
    tab.route("**/run/weigh", lambda route: route.fulfill(json={"data": [answers[0]]}))
    tab.fill("#box textarea", "one")
    advice = "#cost .advice"
    tab.wait_for_selector(f"{advice}:has-text('5,000 tokens of 4,096. Make pictures smaller')")
    assert tab.get_attribute("#cost details", "data-state") == "over"
    answers.pop(0)
    tab.fill("#box textarea", "two")
    tab.wait_for_selector(f"{advice}:has-text('Only 96 tokens are left for the answer. Shorten the question')")
    tab.click(f"{advice} button")
    tab.wait_for_selector("body.settings-open")
    tab.keyboard.press("Escape")
    answers.pop(0)
    tab.fill("#box textarea", "three")
    tab.wait_for_selector(f"{advice}:has-text('That is too long.')")
    answers.pop(0)
    tab.fill("#box textarea", "four")
    tab.wait_for_selector("#cost", state="hidden")  # a server that can't tell
    ask(tab, "and it is asked")
    says(tab, "You said: and it is asked")
