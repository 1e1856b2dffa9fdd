"""A real browser on the page. Without one these tests are skipped, but not where CI=true."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.browser import CHROMIUM
from tests.browser.tabs import Open, strangers, tabs_on
from tests.ui.serving import HeldBackend, Served, served

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--no-first-run",
             # two cameras, which every page may use
             "--use-fake-device-for-media-stream=device-count=2", "--use-fake-ui-for-media-stream",
             "--host-resolver-rules=MAP chat.example.org 127.0.0.1")  # fmt: skip
SHOWN = """() => [document.body.className, document.body.innerText, ...[...document.querySelectorAll('#box *')].map(
  (one) => one.tagName + '.' + one.className + ' ' + (one.value ?? ''))].join('\\n')"""


def _missing(why: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser on a busy machine is late now and then: such a test gets a second try, which the summary names. What a
    hostile page or answer can do is tried once: what gets through once in two is through."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.path.name != "test_guard.py":
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed")
    if not CHROMIUM.exists():
        _missing(f"no browser at {CHROMIUM}; name one with OVIS_CHROMIUM")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    with served(HeldBackend()) as here:
        yield here


@pytest.fixture(scope="session")
def context_of(browser: Any) -> Iterator[Callable[..., Any]]:
    """A context of such options. Its tabs share the browser's cache, and what pages leave for others."""
    contexts: dict[str, Any] = {}

    def of(**options: Any) -> Any:
        key = json.dumps(options, sort_keys=True)
        if key not in contexts:
            contexts[key] = browser.new_context(reduced_motion="reduce", **options)
        return contexts[key]

    yield of
    for context in contexts.values():
        context.close()


@pytest.fixture(scope="session")
def usual(context_of: Callable[..., Any]) -> Any:
    """The one for tabs that need nothing special."""
    return context_of(viewport={"width": 1280, "height": 800})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed test tells what its tabs showed."""
    report = yield
    if report.when == "call" and report.failed:
        for number, tab in enumerate(getattr(item, "tabs", ())):
            report.sections.append((f"tab {number}", _shown(tab)))
    return report


def _shown(tab: Any) -> str:
    try:
        return str(tab.evaluate(SHOWN))
    except Exception as error:  # a tab that is gone, or a page that hangs
        return repr(error)


@pytest.fixture
def open_tab(
    request: pytest.FixtureRequest, context_of: Callable[..., Any], usual: Any, server: Served
) -> Iterator[Callable[..., Any]]:
    """Opens the page; with `options`, in a context of these. Fails the test when the page threw an error."""
    with tabs_on(server.url, request, lambda **options: context_of(**options) if options else usual) as opened:
        yield opened


@pytest.fixture
def open_fresh(request: pytest.FixtureRequest, browser: Any, server: Served) -> Iterator[Open]:
    """The same, each time in a browser that was never here: nothing is kept in it yet."""
    with strangers(server.url, request, browser) as opened:
        yield opened


@pytest.fixture
def tab(open_tab: Callable[..., Any]) -> Any:
    return open_tab()
