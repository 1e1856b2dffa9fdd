"""What the model sees, over a picture that is shown large: its cells, what is lost, and how unsure it is of each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ovis_app.errors import BackendError
from ovis_app.generation import Request, Waiting
from ovis_app.sight import Cells, Sight, VisualWords
from tests.browser.test_page import LEFT, RIGHT, SHAPES, ask, attach, until
from tests.browser.test_viewer import OPEN, PICTURE, opened, title
from tests.ui.serving import Served

Open = Callable[..., Any]
PANEL = f"{OPEN} .seen-panel"
WORDS = VisualWords((41, 7, 7, 600), (0.98, 0.5, 0.5, 0.031), (0.1, 1.5, 1.5, 6.25))
TILED = (
    Cells(0, 0, 1, 1, 2, 2, words=WORDS),
    Cells(0, 0, 0.5, 1, 2, 2, tile=True, words=WORDS),
    Cells(0.5, 0, 1, 1, 2, 2, tile=True, words=VisualWords((1, 2, 3, 4), (1, 1, 1, 1), (0, 0, 0, 0))),
)
COLOURS = """() => [...document.querySelectorAll('.seen-cover canvas')].map((one) => [0, 1].flatMap((y) => [0, 1].map(
  (x) => [...one.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3).join())))"""


def says(tab: Any, words: str) -> None:
    tab.wait_for_function("([at, w]) => document.querySelector(at)?.innerText.includes(w)", arg=[PANEL, words])


def point(tab: Any, x: float, y: float) -> None:
    box = tab.locator(PICTURE).bounding_box()
    tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])


@pytest.fixture
def sighted(server: Served) -> Iterator[list[tuple[Request, int]]]:
    """The scripted backend knows visual words, and cuts tiles; what it was asked."""
    asked: list[tuple[Request, int]] = []

    def sees(request: Request, place: int) -> Iterator[Waiting | Sight]:
        asked.append((request, place))
        yield Waiting("Looking at the picture")
        yield Sight((256, 256), (256, 256), (896, 448), TILED, vocabulary=636)

    server.backend.sees = sees
    yield asked
    del server.backend.sees


def test_the_grid_lies_over_the_picture_and_follows_it(tab: Any, tmp_path: Path) -> None:
    Image.new("RGB", (900, 900), "white").save(tmp_path / "page.png")
    ask(tab, "look", [SHAPES, tmp_path / "page.png"])
    opened(tab, ".user-row .picture >> nth=0")
    assert tab.locator(PANEL).count() == 0
    tab.click(f"{OPEN} .sees-shown")
    says(tab, "Read at 256 × 256 pixels: 64 visual tokens.")
    assert "Letters" not in tab.inner_text(PANEL) and tab.locator(f"{OPEN} .map-shown").is_hidden()
    tab.wait_for_function("() => document.querySelectorAll('.seen-cover svg').length === 1")
    point(tab, 0.5, 0.99)
    says(tab, "Row 8, column 5")
    tab.focus(f"{OPEN} .room")
    tab.keyboard.press("ArrowRight")
    says(tab, "Letters lower than about 29 pixels are read at fewer than 8")
    assert "page.png" in title(tab)
    tab.click(f"{OPEN} .sees-shown")
    tab.wait_for_selector(PANEL, state="detached")
    assert tab.locator(".seen-cover, .probe").count() == 0


def test_the_map_tells_how_unsure_each_word_is(tab: Any, sighted: list[tuple[Request, int]]) -> None:
    attach(tab, [LEFT, RIGHT])  # in the box: nothing was asked yet
    opened(tab, "#box .opens >> nth=1")
    tab.click(f"{OPEN} .sees-shown")
    says(tab, "Read at 896 × 448 pixels in 2 tiles, and once more as a whole: 12 visual tokens.")
    ((request, place),) = sighted
    media = request.conversation.messages[-1].media
    assert place == 1 and [one.label for one in media] == ["left.png", "right.png"]
    says(tab, "unsure: 6.3 bits")
    left, right = tab.evaluate(COLOURS)
    assert len(set(left)) == 3 and set(right) == {"0,34,78"} and left[3] == "254,232,56"
    point(tab, 0.49, 0.99)
    says(tab, "Part 1, row 2, column 2: visual word 600 at 3 %, entropy 6.3 bits")
    tab.focus(f"{OPEN} .probe")
    tab.keyboard.press("ArrowRight")
    says(tab, "Part 2, row 2, column 1: visual word 3 at 100 %, entropy 0.0 bits")
    assert "row 2, column 1" in tab.get_attribute(f"{OPEN} .probe", "aria-label")
    assert "right.png" in title(tab)  # arrows were the map's
    tab.select_option(f"{PANEL} select", "The whole picture")
    assert len(tab.evaluate(COLOURS)) == 1
    tab.click(f"{OPEN} .map-shown")
    assert tab.evaluate(COLOURS) == [] and tab.locator(".seen-cover svg").count() == 1
    tab.keyboard.press("Escape")
    tab.wait_for_selector("dialog.viewer", state="detached")


def test_whoever_closes_while_it_looks_ends_it_and_failures_are_said(open_tab: Open, server: Served) -> None:
    looking, left = threading.Event(), threading.Event()

    def held(request: Request, place: int) -> Iterator[Waiting | Sight]:
        try:
            looking.set()
            while not left.wait(0.05):
                yield Waiting("Looking at the picture")
        finally:
            left.set()

    def failing(request: Request, place: int) -> Iterator[Waiting | Sight]:
        raise BackendError("The model is out of memory: lower max pixels and try again.")
        yield

    tab = open_tab(viewport={"width": 390, "height": 780}, has_touch=True, color_scheme="dark")
    try:
        server.backend.sees = held
        ask(tab, "look", [SHAPES])
        opened(tab, ".user-row .picture")
        tab.tap(f"{OPEN} .sees-shown")
        until(tab, looking.is_set)
        tab.tap(f"{OPEN} .close")
        until(tab, left.is_set)
        server.backend.sees = failing
        opened(tab, ".user-row .picture")
        tab.tap(f"{OPEN} .sees-shown")
        says(tab, "The model is out of memory: lower max pixels and try again.")
        box = tab.locator(f"{OPEN} .sees-shown").bounding_box()
        assert box["width"] >= 44 and box["height"] >= 44 and box["x"] + box["width"] <= 390
    finally:
        del server.backend.sees
