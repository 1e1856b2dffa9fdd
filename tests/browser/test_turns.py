"""What can be done with a turn, where it stands, and by keys: continued, drawn again, reworded, branched, shown as an
example, rated, deleted and brought back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ovis_app.ui.static_files import StaticFiles
from tests.browser.test_page import LEFT, RIGHT, ask, conversation, do, figures, says, until
from tests.ui.serving import HeldBackend, Served, free_port, served
from tests.waiting import PATIENCE

Open = Callable[..., Any]
SIZES = [{"viewport": {"width": 1280, "height": 800}}, {"viewport": {"width": 390, "height": 780}, "has_touch": True}]
ANSWER = ".bot-row:last-child .words >> nth=1"


def choose(tab: Any, action: str, *, row: str = ".bot-row", number: int = -1) -> None:
    """Something of a turn's menu."""
    tab.locator(f"#conversation {row} .more").nth(number).click()
    tab.click(f".ovis-menu .{action}")
    tab.wait_for_selector(".ovis-menu", state="detached")


def version(tab: Any, words: str) -> None:
    tab.wait_for_function(
        "w => document.querySelector('.bot-row:last-child .versions')?.innerText.includes(w)", arg=words
    )


@pytest.mark.parametrize("size", SIZES, ids=["desktop", "phone"])
def test_an_answer_that_was_cut_goes_on_where_it_was(open_tab: Open, server: Served, size: dict[str, Any]) -> None:
    tab = open_tab(**size)
    ask(tab, "Which has more?", [LEFT, RIGHT])
    tab.fill("#box textarea", "slow")
    tab.press("#box textarea", "Enter")
    says(tab, "word5")
    tab.reload()
    figures(tab, 2)
    until(tab, lambda: server.backend.live == 0)
    said = tab.inner_text(ANSWER).split()
    assert said[:6] == [f"word{n}" for n in range(6)]
    tab.click(".go-on")
    says(tab, f"word{len(said) + 3}")
    tab.keyboard.press("Escape")
    figures(tab, 2)
    tab.keyboard.press("Alt+c")
    tab.wait_for_selector("#box .stop-button")
    tab.click("#box .stop-button")
    figures(tab, 2)
    more = tab.inner_text(ANSWER).split()
    assert more == [f"word{n}" for n in range(len(more))] and len(more) > len(said)
    asked = server.backend.requests[-1].conversation
    assert [len(one.media) for one in asked.messages] == [2, 0, 0, 0] and asked.begun is not None
    ask(tab, "and now?")
    assert server.backend.requests[-1].conversation.messages[3].text.split() == more
    small = """() => [...document.querySelectorAll('.foot button')].filter((e) => e.offsetHeight < 44).length"""
    assert size["viewport"]["width"] > 640 or tab.evaluate(small) == 0
    assert tab.evaluate("document.querySelector('#conversation .scroll').scrollWidth") <= size["viewport"]["width"]


NEW = "#lines p:has-text('reload to get the new one')"


def test_a_server_that_cannot_be_reached_is_seen_and_so_is_that_another_version_is_back(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with browser.new_context(reduced_motion="reduce") as context:
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE * 1000)
        with served(HeldBackend(), port=port) as before:
            tab.goto(before.url)
            ask(tab, "before")
            for part in (
                "menu.mjs",
                "main.mjs",
            ):  # as a server of another version answers, which nobody has heard of yet
                tab.route(f"**/page/{part}", lambda route: route.fulfill(status=404))
            tab.click(".bot-row .more")
            tab.wait_for_selector(NEW)
            tab.unroute_all()
            tab.reload()
            says(tab, "You said: before")
        tab.fill("#box textarea", "is anybody there?")
        tab.press("#box textarea", "Enter")
        tab.wait_for_selector("#status .pill.offline:has-text('No connection')")
        assert tab.inner_text("#status").strip() == "No connection" and "waits here" in tab.inner_text("#lines")
        own = StaticFiles.of
        monkeypatch.setattr(StaticFiles, "of", staticmethod(lambda found: replace(own(found), version="0" * 12)))
        with served(HeldBackend(), port=port):
            tab.wait_for_selector("#status .pill.offline", state="detached")  # nobody had to ask
            tab.wait_for_selector(NEW)
            assert tab.locator("#lines p").count() == 1
            tab.press("#box textarea", "Enter")
            says(tab, "You said: is anybody there?")
            tab.reload()
            says(tab, "You said: is anybody there?")
            assert "You said: before" in conversation(tab) and tab.locator("#lines p").count() == 0


def test_answers_are_drawn_again_reworded_rated_and_each_is_a_version(tab: Any, server: Served) -> None:
    ask(tab, "first")
    assert tab.get_attribute(".bot-row .again", "title").startswith("Different")  # the same words would come
    do(tab, ".bot-row .again")
    version(tab, "2/2")
    assert server.backend.requests[-1].settings.temperature == 0.8
    assert tab.get_attribute(".bot-row .again", "title") == "Regenerate"
    tab.keyboard.press("Alt+r")
    version(tab, "3/3")
    assert server.backend.requests[-1].settings.temperature == 0
    choose(tab, "settings")
    tab.wait_for_selector("#system textarea", state="visible")
    tab.fill("#system textarea", "Be brief.")
    tab.click(".ovis-toast button:has-text('Regenerate')")
    version(tab, "4/4")
    assert server.backend.requests[-1].settings.system == "Be brief."
    choose(tab, "edit")
    tab.fill(".rewording textarea", "Mine, with **stars**")
    tab.press(".rewording textarea", "Control+Enter")
    version(tab, "5/5")
    tab.wait_for_selector(".bot-row strong:has-text('stars')")
    assert tab.inner_text(".figures") == "edited by hand"
    choose(tab, "bad")
    tab.fill(".ovis-dialog textarea", "It has stars.")
    tab.press(".ovis-dialog textarea", "Tab")
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".foot .bad[title='Bad answer: It has stars.']")
    ask(tab, "second")
    assert server.backend.requests[-1].conversation.messages[1].text == "Mine, with **stars**"
    tab.reload()
    tab.wait_for_selector(".foot .bad[title='Bad answer: It has stars.']")


def test_the_menu_goes_by_keys_and_what_was_deleted_comes_back(tab: Any) -> None:
    ask(tab, "first")
    ask(tab, "second")
    tab.locator(".bot-row .more").first.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".ovis-menu button:focus")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("End")
    assert tab.evaluate("document.activeElement.textContent") == "Delete"
    tab.keyboard.press("Escape")
    tab.wait_for_selector(".ovis-menu", state="detached")
    assert tab.evaluate("document.activeElement.classList.contains('more')")
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".ovis-menu button:focus")
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("Enter")
    figures(tab, 0)
    assert conversation(tab).strip().endswith("first")
    tab.click(".ovis-toast button:has-text('Undo')")
    figures(tab, 2)
    says(tab, "You said: second")
    tab.reload()
    figures(tab, 2)
    tab.locator(".bot-row .again").last.focus()
    tab.keyboard.press("Enter")
    version(tab, "2/2")
    assert tab.evaluate("!!document.activeElement.closest('.bot-row:last-child')")  # who goes by keys stays in the turn
    tab.locator(".bot-row .back").last.focus()
    tab.keyboard.press("Enter")
    version(tab, "1/2")
    tab.keyboard.press("Tab")
    tab.wait_for_selector(".bot-row:last-child .forth:focus")


def test_a_chat_begins_elsewhere_and_with_examples(tab: Any, server: Served) -> None:
    ask(tab, "Which has more?", [LEFT, RIGHT])
    ask(tab, "Why?")
    choose(tab, "branch", number=0)
    figures(tab, 1)
    assert "Why?" not in conversation(tab)
    ask(tab, "And elsewhere?")
    assert [len(one.media) for one in server.backend.requests[-1].conversation.messages] == [2, 0, 0]
    tab.locator("#conversation .bot-row .more").nth(0).click()
    tab.wait_for_selector(".ovis-menu .example")
    # A new chat begins while the example is still being written down.
    tab.evaluate("() => { document.querySelector('.ovis-menu .example').click(); window.ovis.put('new', true); }")
    tab.wait_for_selector(".shots li:has-text('Which has more?')")
    ask(tab, "mine")
    asked = server.backend.requests[-1].conversation.messages
    assert [one.text for one in asked[::2]] == ["Which has more?", "mine"] and len(asked[0].media) == 2
    assert tab.locator(".user-row .badge").inner_text() == "Example"
    tab.click("#new-chat")
    tab.click(".shots .leave")
    tab.wait_for_selector(".shots", state="hidden")
    tab.click(".ovis-toast button:has-text('Undo')")
    tab.wait_for_selector(".shots li")
    tab.uncheck(".shots input")
    ask(tab, "alone")
    assert len(server.backend.requests[-1].conversation.messages) == 1
    tab.click("#new-chat")
    tab.click(".shots .leave")
    tab.wait_for_selector(".shots", state="hidden")


def test_keys_work_wherever_somebody_stands_but_where_they_are_typed(tab: Any, server: Served) -> None:
    ask(tab, "one /?")
    tab.click("#title")
    tab.keyboard.press("/")
    tab.keyboard.type("a/b?")
    assert tab.input_value("#box textarea") == "a/b?" and tab.locator("dialog").count() == 0
    tab.fill("#box textarea", "")
    tab.keyboard.press("ArrowUp")
    tab.wait_for_selector("#leave-edit:visible")
    assert tab.input_value("#box textarea") == "one /?"
    tab.click("#leave-edit")
    tab.click("#title")
    tab.keyboard.press("?")
    tab.wait_for_selector(".ovis-dialog kbd")
    tab.keyboard.press("Escape")
    tab.wait_for_selector(".ovis-dialog", state="detached")
    asked = len(server.backend.requests)
    composing = "new KeyboardEvent('keydown', {key: 'r', code: 'KeyR', altKey: true, isComposing: true, bubbles: true})"
    tab.evaluate(f"document.dispatchEvent({composing})")
    tab.keyboard.press("Alt+r")
    version(tab, "2/2")
    assert len(server.backend.requests) == asked + 1


def test_settings_belong_to_their_chat_and_a_new_one_begins_as_the_model_recommends(tab: Any, server: Served) -> None:
    assert "Think before" in tab.get_attribute("#switch-thinking label", "title")
    tab.click("#switch-thinking label")
    tab.click("#switch-cot label")
    tab.click("#settings")
    tab.fill("#knob-temperature input[type=number]", "0.7")
    tab.press("#knob-temperature input[type=number]", "Tab")
    tab.fill("#system textarea", "Be brief.")
    tab.keyboard.press("Escape")
    ask(tab, "What comes of it? Final answer: **4**.")
    assert tab.inner_text(".bot-row .final") == "Final answer 4"
    wanted = server.backend.requests[-1].settings
    assert (wanted.temperature, wanted.system, wanted.thinking) == (0.7, "Be brief.", True)
    tab.click("#new-chat")
    tab.click("#settings")
    tab.wait_for_function("() => document.querySelector('#knob-temperature input[type=number]').value === '0'")
    tab.keyboard.press("Escape")
    tab.wait_for_function("() => !document.querySelector('#switch-thinking input').checked")
    ask(tab, "and now")
    wanted = server.backend.requests[-1].settings
    assert (wanted.temperature, wanted.system, wanted.thinking) == (0, "", False)
    tab.click("#switch-cot label")
    tab.reload()
    tab.wait_for_function("() => document.querySelector('#switch-cot input')?.checked")
