"""Tabs of a browser on the page, for as long as a test runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.waiting import PATIENCE

Open = Callable[..., Any]


@contextmanager
def tabs_on(url: str, request: pytest.FixtureRequest, context_of: Open) -> Iterator[Open]:
    """Opens the page, each time in the context that `context_of` gives for the options. Fails the test when the page
    threw an error."""
    tabs, errors = [], []
    request.node.tabs = tabs

    def open_one(**options: Any) -> Any:
        tab = context_of(**options).new_page()
        tabs.append(tab)
        tab.set_default_timeout(PATIENCE * 1000)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(url)
        tab.wait_for_selector("#box textarea")
        return tab

    yield open_one
    for one in tabs:
        one.close()
    assert errors == []


@contextmanager
def strangers(url: str, request: pytest.FixtureRequest, browser: Any) -> Iterator[Open]:
    """The same, each time in a browser that was never here: nothing is kept in it yet."""
    with ExitStack() as contexts:

        def fresh(**options: Any) -> Any:
            return contexts.enter_context(browser.new_context(reduced_motion="reduce", **options))

        with tabs_on(url, request, fresh) as opened:
            yield opened
