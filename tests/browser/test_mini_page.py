"""The whole thing, as a stranger meets it: `python app.py`, a browser, and the bundled model's own answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.server import app
from tests.browser.test_page import SHAPES, ask, conversation, figures, says
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with app() as (url, _):
        yield url


@pytest.fixture
def mini(usual: Any, address: str) -> Iterator[Any]:
    tab = usual.new_page()
    tab.set_default_timeout(2 * PATIENCE * 1000)
    tab.goto(address)
    tab.wait_for_selector("#box textarea")
    yield tab
    tab.close()


def test_mini_answers_about_an_uploaded_picture_and_remembers_it(mini: Any) -> None:
    ask(mini, "What is at the top left?", [SHAPES])
    assert "It is a red circle." in conversation(mini)
    ask(mini, "What is at the center?")
    assert "It is a blue square." in conversation(mini)
    assert "tokens/s" in mini.locator(".figures").last.inner_text()


def test_mini_thinks_in_a_block_of_its_own(mini: Any) -> None:
    mini.get_by_text("Think, then count").click()
    figures(mini, 1)
    says(mini, "There are 3 shapes.")
    assert "Thought" in conversation(mini)


def test_mini_watches_the_clip(mini: Any) -> None:
    mini.get_by_text("Watch a clip").click()
    figures(mini, 1)
    says(mini, "from left to right")
    assert "8 frames" in mini.inner_text(".figures")


def test_mini_keeps_the_question_when_a_file_is_refused(mini: Any, tmp_path: Any) -> None:
    (tmp_path / "notes.mp4").write_text("this is no clip")
    mini.fill("#box textarea", "What is at the top left?")
    mini.set_input_files("#box input[type=file]", [str(SHAPES), str(tmp_path / "notes.mp4")])
    mini.wait_for_function("document.body.innerText.includes('notes.mp4')")
    mini.wait_for_function("document.querySelectorAll('#box .thumbnail-item').length === 1")  # the good file
    assert mini.input_value("#box textarea") == "What is at the top left?"
    mini.wait_for_selector("body:not(.checking)")
    mini.press("#box textarea", "Enter")
    says(mini, "It is a red circle.")
