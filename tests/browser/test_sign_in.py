"""Signing in and out as a person does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.test_page import ask
from tests.ui.serving import HeldBackend, Served, served
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    with served(HeldBackend(), auth=("anna:correct horse",)) as here:
        yield here


def test_a_person_signs_in_asks_and_signs_out(browser: Any, guarded: Served) -> None:
    with browser.new_context(reduced_motion="reduce") as context:
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE * 1000)
        tab.goto(guarded.url)
        assert tab.title() == "Sign in to Ovis" and tab.locator("#box").count() == 0
        for password in ("wrong", "correct horse"):
            tab.get_by_label("Name").fill("anna")
            tab.get_by_label("Password").fill(password)
            tab.get_by_role("button", name="Sign in").click()
            if password == "wrong":
                assert "wrong" in tab.get_by_role("alert").inner_text()
        tab.wait_for_selector("#box textarea")
        assert tab.url == guarded.url
        ask(tab, "Hello there")
        out = tab.get_by_role("button", name="Sign out")
        assert "svg" in out.evaluate("(e) => getComputedStyle(e, '::before').maskImage"), "its icon is a box"
        tab.set_viewport_size({"width": 360, "height": 780})
        phone = tab.evaluate(
            "[...document.querySelectorAll('#header button')].map((e) => e.getBoundingClientRect().right)"
        )
        assert max(phone) <= 360 and out.bounding_box()["width"] == 44, "there is room for its icon alone"
        tab.wait_for_function(
            "document.querySelector('#model').scrollWidth <= document.querySelector('#model').clientWidth"
        )
        tab.get_by_role("button", name="Sign out").click()
        tab.wait_for_selector("input[type=password]")
        tab.goto(guarded.url)
        assert tab.title() == "Sign in to Ovis"


def test_the_page_says_quietly_that_it_is_open(browser: Any) -> None:
    with served(HeldBackend(), server_name="0.0.0.0") as server, browser.new_context() as context:
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE * 1000)
        tab.goto(server.url)
        tab.wait_for_selector("#box textarea")
        line = tab.locator("#open-to-all")
        assert "Nobody has to sign in" in line.inner_text() and line.bounding_box()["height"] < 40
        assert tab.evaluate("document.documentElement.scrollHeight <= innerHeight")  # the composer stays in sight
