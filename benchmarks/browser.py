"""A real Chromium on the page, driven by Playwright. Knows the page's elements that people use, no figures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INSTALLED = ("/usr/bin/chromium-headless-shell", "/usr/bin/chromium")  # Debian's; the first takes half as long a page
CHROMIUM = Path(os.environ.get("OVIS_CHROMIUM") or next(filter(os.path.exists, INSTALLED), INSTALLED[-1]))
MISSING = "what a browser shows: there is no Chromium here; name one with OVIS_CHROMIUM."


@contextmanager
def browser(url: str = "") -> Iterator[Any]:
    """A Chromium tab on the page, or on none yet."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        one = chromium.new_page(viewport={"width": 1280, "height": 800})
        one.set_default_timeout(30_000)
        if url:
            visit(one, url)
        yield one
        chromium.close()


def visit(one: Any, url: str) -> None:
    """Opens the page, and waits until a question can be typed."""
    one.goto(url)
    one.wait_for_selector("#box textarea")


def ask(one: Any, text: str, files: Sequence[Path]) -> None:
    """Asks in the browser, and waits for the end of the answer."""
    before = one.locator(".figures").count()
    attach(one, files)
    one.fill("#box textarea", text)
    one.press("#box textarea", "Enter")
    one.wait_for_function("n => document.querySelectorAll('.figures').length > n", arg=before)
    one.wait_for_selector("#box .submit-button")


def attach(one: Any, files: Sequence[Path]) -> None:
    """Puts files next to the composer, and waits until they are uploaded."""
    if files:
        one.set_input_files("#box input[type=file]", [str(path) for path in files])
        one.wait_for_function("document.querySelectorAll('#box .thumbnail-item').length")
