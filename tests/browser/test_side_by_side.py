"""What is often asked, by a button; one question asked twice, and both answers side by side; what somebody draws on a
picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.browser.test_page import LEFT, RIGHT, SHAPES, attach, figures, says
from tests.ui.serving import Served

Open = Callable[..., Any]
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "color_scheme": "dark"}


def test_what_is_often_asked_is_one_press_away_and_gone_once_somebody_writes(open_tab: Open, server: Served) -> None:
    tab = open_tab(**PHONE)
    assert tab.locator(".task:visible").count() == 0
    attach(tab, [SHAPES])
    tab.wait_for_selector(".task")
    assert tab.locator(".task").all_inner_texts() == ["Describe", "Read the word", "Count", "Find…"]
    assert tab.evaluate("[...document.querySelectorAll('.task')].every((one) => one.offsetHeight >= 44)")
    tab.fill("#box textarea", "x")
    tab.wait_for_selector(".tasks", state="hidden")
    tab.fill("#box textarea", "")
    tab.tap(".task >> text=Find…")
    tab.keyboard.type("red circle")
    asked = "Where is the <ref>red circle</ref>? Please provide the bounding box coordinates."
    assert tab.input_value("#box textarea") == asked
    tab.keyboard.press("Enter")
    figures(tab, 1)
    attach(tab, [LEFT, RIGHT])
    tab.wait_for_selector(".task >> text=Which has more?")
    tab.reload()
    tab.tap(".task >> text=Which has more?")
    says(tab, "You said: Which image has more shapes?")
    figures(tab, 2)
    first, second = (one.text for one in server.backend.requests[-1].conversation.messages[::2])
    assert (first, second) == (asked, "Which image has more shapes?")
    assert tab.locator(".task:visible").count() == 0
