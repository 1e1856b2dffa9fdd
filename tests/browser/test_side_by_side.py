"""What is often asked, by a button; one question asked twice, and both answers side by side; what somebody draws on a
picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ovis_app.zoo import find
from tests.browser.tabs import tabs_on
from tests.browser.test_page import LEFT, RIGHT, SHAPES, ask, attach, figures, says
from tests.browser.test_turns import choose, version
from tests.ui.serving import HeldBackend, Served, served

Open = Callable[..., Any]
DESK = {"viewport": {"width": 1280, "height": 800}}
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


def differs(tab: Any, count: int) -> list[str]:
    """The words that are marked, once there are so many."""
    marked = "[...(CSS.highlights.get('ovis-differs') ?? [])].map((one) => one.toString())"
    tab.wait_for_function(f"n => {marked}.length === n", arg=count)
    return list(tab.evaluate(marked))


def heads(tab: Any, words: str) -> list[str]:
    tab.wait_for_function(
        "w => [...document.querySelectorAll('.twin-facts')].filter((one) => one.innerText.includes(w)).length === 2",
        arg=words,
    )
    return list(tab.locator(".twin-apart").all_inner_texts())


def keep_second(tab: Any) -> None:
    tab.locator(".keep-this").nth(1).click()
    tab.wait_for_selector(".twin", state="detached")
    version(tab, "2/2")


def test_a_question_is_asked_twice_and_one_of_the_answers_is_kept(open_tab: Open, server: Served) -> None:
    tab = open_tab(**DESK)
    attach(tab, [SHAPES])
    assert tab.locator(".compare-button:visible").count() == 0
    tab.fill("#box textarea", "How many?")
    tab.click(".compare-button")
    tab.wait_for_selector(".ovis-dialog .primary:disabled")  # nothing is other yet
    tab.fill("[aria-label='Temperature, second answer']", "0.7")
    assert tab.locator("tr.differs th").all_inner_texts() == ["Temperature"]
    tab.click(".ovis-dialog .primary")
    figures(tab, 2)
    assert heads(tab, "the same words") == ["Temperature: 0", "Temperature: 0.7"]
    asked = server.backend.requests[-2:]
    assert [one.settings.temperature for one in asked] == [0, 0.7]
    assert all([len(said.media) for said in one.conversation.messages] == [1] for one in asked)
    left, right = (tab.locator(".twin").nth(place).bounding_box() for place in (0, 1))
    assert left["y"] == right["y"] and left["x"] + left["width"] < right["x"]
    tab.reload()
    assert heads(tab, "the same words") == ["Temperature: 0", "Temperature: 0.7"]
    keep_second(tab)
    assert tab.locator(".bot-row").count() == 1 and tab.locator(".twin, .twin-head").count() == 0
    ask(tab, "Why?")
    assert len(server.backend.requests[-1].conversation.messages) == 3


def test_versions_that_are_there_stand_side_by_side_with_what_differs_marked(open_tab: Open) -> None:
    tab = open_tab(**DESK)
    ask(tab, "There is **one** red circle, at `x`.")
    choose(tab, "edit")
    tab.fill(".rewording textarea", "You said: There are *two* circles, at `x`.")
    tab.press(".rewording textarea", "Control+Enter")
    version(tab, "2/2")
    choose(tab, "side-by-side")
    assert differs(tab, 6) == ["is", "one", "red circle", "are", "two", "circles"]
    assert tab.locator(".twin-apart").all_inner_texts() == ["First answer", "edited by hand"]
    tab.locator(".twin .raw").first.click()  # as it was written: marked anew
    tab.wait_for_function("() => [...CSS.highlights.get('ovis-differs')].join().includes('is **one** red circle')")
    tab.click("#language")
    tab.wait_for_selector(".keep-this >> text=保留这个")
    tab.click("#language")
    tab.click("#new-chat")
    tab.wait_for_selector(".example")
    assert tab.evaluate("CSS.highlights.has('ovis-differs')") is False


def test_an_answer_is_asked_for_beside_another_and_stop_ends_both(open_tab: Open, server: Served) -> None:
    tab = open_tab(**PHONE)
    ask(tab, "first")
    choose(tab, "compare")
    tab.tap("[aria-label='Think, second answer']")
    small = "[...document.querySelectorAll('.ovis-dialog :is(button, input[type=number], label)')]"
    assert tab.evaluate(f"{small}.every((one) => one.offsetHeight >= 44)")
    tab.tap(".ovis-dialog .primary")
    figures(tab, 2)
    assert heads(tab, "the same words") == ["Think: off", "Think: on"]
    assert server.backend.requests[-1].settings.thinking and tab.locator(".thought:visible").count() == 1
    above, below = (tab.locator(".twin").nth(place).bounding_box() for place in (0, 1))
    assert above["x"] == below["x"] and above["y"] + above["height"] <= below["y"]
    assert tab.evaluate("document.querySelector('#conversation .scroll').scrollWidth") <= 390
    asked = len(server.backend.requests)
    tab.fill("#box textarea", "slow")
    tab.tap(".compare-button")
    tab.tap("[aria-label='Think, second answer']")
    tab.tap(".ovis-dialog .primary")
    says(tab, "word3")
    says(tab, "Waiting for the other answer")
    tab.tap("#box .stop-button")
    tab.wait_for_function(
        "() => [...document.querySelectorAll('.twin .figures')].map((e) => e.innerText).join() === 'stopped,stopped'"
    )
    assert len(server.backend.requests) == asked + 1


def test_another_model_answers_second_where_there_are_several(usual: Any, request: pytest.FixtureRequest) -> None:
    other = find("Ovis2-1B")
    assert other is not None
    with served(HeldBackend(others=(other,))) as here, tabs_on(here.url, request, lambda: usual) as opens:
        tab = opens()
        ask(tab, "Which?")
        choose(tab, "compare")
        assert tab.locator(".settings-table >> text=Tiles of a picture").count() == 0
        tab.select_option(".settings-table select", "Ovis2-1B")
        tab.wait_for_selector(".settings-table >> text=Tiles of a picture")
        tab.click(".ovis-dialog .primary")
        figures(tab, 2)
        assert heads(tab, "the same words") == ["Ovis-mini", "Ovis2-1B"]
        first, second = here.backend.requests
        assert (first.model, second.model) == ("", other.public_id)
        assert second.settings.max_new_tokens == other.defaults.max_new_tokens
        keep_second(tab)
        ask(tab, "and now?")
        assert here.backend.requests[-1].model == ""  # one question alone was another model's


def inked(tab: Any, at: tuple[float, float]) -> bool:
    """Whether the picture in the box has the colour of what is drawn, at a place of it."""
    return bool(
        tab.evaluate(
            """([x, y]) => {
              const image = document.querySelector("#box .thumbnail-item img");
              const [w, h] = [image.naturalWidth, image.naturalHeight];
              const pen = Object.assign(document.createElement("canvas"), { width: w, height: h }).getContext("2d");
              pen.drawImage(image, 0, 0);
              return [...pen.getImageData(x * w, y * h, 1, 1).data].slice(0, 3).join() === "225,29,72";
            }""",
            list(at),
        )
    )


def test_arrows_and_boxes_are_drawn_into_a_copy_that_stands_in_the_pictures_place(open_tab: Open) -> None:
    tab = open_tab(**PHONE)
    attach(tab, [SHAPES])
    tab.click("#box .opens")
    tab.wait_for_function("() => document.querySelector('dialog.viewer p')?.textContent.includes('pixels')")
    tab.click(".viewer .draw-on")
    tab.wait_for_selector(".viewer .draw-use:disabled")
    stage = tab.locator(".viewer .stage").bounding_box()

    def drag(start: tuple[float, float], end: tuple[float, float]) -> None:
        at = [(stage["x"] + x * stage["width"], stage["y"] + y * stage["height"]) for x, y in (start, end)]
        tab.mouse.move(*at[0])
        tab.mouse.down()
        tab.mouse.move(*at[1], steps=3)
        tab.mouse.up()

    drag((0.1, 0.5), (0.3, 0.5))
    tab.click(".viewer .draw-box")
    drag((0.6, 0.2), (0.9, 0.4))
    tab.keyboard.press("ArrowDown")  # what was drawn last moves
    assert tab.get_attribute(".viewer .sketch", "aria-label") == "Drawing: 2 on the picture"
    tab.keyboard.press("Enter")
    tab.click(".viewer .draw-undo")
    tab.click(".viewer .draw-use")
    tab.wait_for_selector("#box .thumbnail-item img[alt='shapes (marked).png']")
    tab.wait_for_function("() => document.querySelector('#box .thumbnail-item img').naturalWidth === 256")
    assert inked(tab, (0.2, 0.5)) and inked(tab, (0.75, 0.22)) and not inked(tab, (0.75, 0.32))
    assert tab.locator("#box .thumbnail-item").count() == 1
    tab.click(".ovis-toast button:has-text('Undo')")
    tab.wait_for_selector("#box .thumbnail-item img[alt='shapes.png']")
    assert not inked(tab, (0.2, 0.5))
