"""Nothing is lost: reloads, restarts, lost connections, other tabs, and stores that can't be used."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser.test_page import LEFT, RIGHT, SHAPES, ask, attach, conversation, figures, says, until
from tests.ui.serving import HeldBackend, Served, free_port, served

Open = Callable[..., Any]
SIZES = [{"viewport": {"width": 1280, "height": 800}}, {"viewport": {"width": 360, "height": 740}, "has_touch": True}]


@pytest.mark.parametrize("size", SIZES, ids=["desktop", "phone"])
def test_a_reload_in_mid_answer_keeps_everything_and_marks_the_answer_as_cut(
    open_tab: Open, server: Served, size: dict[str, Any]
) -> None:
    tab = open_tab(**size)
    ask(tab, "Which has more?", [LEFT, RIGHT])
    tab.click("#actions .switch:has-text('Think') label")
    tab.fill("#box textarea", "slow")
    tab.press("#box textarea", "Enter")
    says(tab, "word5")
    attach(tab, [SHAPES])
    tab.fill("#box textarea", "half a tho")
    seen = tab.inner_text(".bot-row:last-child .words >> nth=1").split()
    tab.reload()
    figures(tab, 2)
    until(tab, lambda: server.backend.live == 0)
    assert tab.locator(".figures").last.inner_text() == "cut off"
    said = conversation(tab)
    assert "You said: Which has more? (with left.png, right.png)" in said and set(seen) <= set(said.split())
    tab.wait_for_function(
        "() => [...document.querySelectorAll('.picture img')].filter((i) => i.naturalWidth).length === 2"
    )
    assert tab.input_value("#box textarea") == "half a tho" and tab.locator("#box .thumbnail-item").count() == 1
    assert tab.is_checked("#switch-thinking input")
    tab.locator(".retry").click()
    tab.wait_for_selector("#box .stop-button")
    tab.keyboard.press("Escape")
    figures(tab, 2)
    ask(tab, "And this?")
    asked = server.backend.requests[-1]
    assert [len(one.media) for one in asked.conversation.messages] == [2, 0, 0, 0, 1] and asked.settings.thinking


def test_the_next_question_continues_after_the_server_was_started_again(browser: Any) -> None:
    port = free_port()
    context = browser.new_context(reduced_motion="reduce")
    tab = context.new_page()
    with served(HeldBackend(), port=port) as before:
        tab.goto(before.url)
        ask(tab, "Which has more?", [LEFT, RIGHT])
    with served(HeldBackend(), port=port) as after:
        ask(tab, "And why?")
        (asked,) = after.backend.requests
        assert [one.text for one in asked.conversation.messages[::2]] == ["Which has more?", "And why?"]
        assert [one.label for one in asked.conversation.messages[0].media] == ["left.png", "right.png"]
        assert "You said: And why?" in conversation(tab) and tab.locator(".problem:visible").count() == 0
        context.close()


def test_offline_the_question_waits_in_the_box(open_tab: Open) -> None:
    tab = open_tab(accept_downloads=False)
    ask(tab, "before")
    tab.context.set_offline(True)
    tab.wait_for_selector("#lines p")
    tab.fill("#box textarea", "is anybody there?")
    tab.press("#box textarea", "Enter")
    tab.wait_for_function("() => document.querySelector('#lines').innerText.includes('waits here')")
    assert tab.input_value("#box textarea") == "is anybody there?" and "anybody" not in conversation(tab)
    tab.click("#settings")
    tab.wait_for_selector("#drawer p:has-text('when there is a connection')")
    tab.click("#close-settings")
    tab.context.set_offline(False)
    tab.wait_for_selector("#lines p", state="detached")
    tab.press("#box textarea", "Enter")
    says(tab, "You said: is anybody there?")
    tab.click("#settings")
    tab.wait_for_selector("#knob-temperature")


def test_another_tab_finds_earlier_conversations_and_both_go_on(open_tab: Open) -> None:
    one = open_tab(accept_downloads=False)
    ask(one, "Tell me of circles")
    other = one.context.new_page()
    other.goto(one.url)
    other.click(".earlier button:has-text('Tell me of circles')")
    says(other, "You said: Tell me of circles")
    ask(one, "from the first")
    ask(other, "from the second")
    other.reload()
    says(other, "You said: from the second")
    one.reload()
    says(one, "You said: from the first")


UNUSABLE = {
    "none": ("Object.defineProperty(window, 'indexedDB', {get() { throw new Error('no'); }});", "keeps nothing"),
    "full": (
        """const put = IDBObjectStore.prototype.put;
           IDBObjectStore.prototype.put = function (...one) {
               if (!window.room) throw new DOMException('full', 'QuotaExceededError');
               return put.apply(this, one);
           };""",
        "no room left",
    ),
    "newer": ("", "newer version of this page"),
    "silent": (
        """const open = IDBFactory.prototype.open;
           IDBFactory.prototype.open = function (...one) {
               let real = null;
               const asked = {get result() { return real.result; }};
               window.answer = () => {
                   real = open.apply(this, one);
                   for (const name of ['onupgradeneeded', 'onsuccess', 'onerror']) real[name] = asked[name];
               };
               return asked;
           };""",
        "keeps nothing",
    ),
}
NEWER = """() => new Promise((done) => {
    const asked = indexedDB.open('ovis', 99);
    asked.onupgradeneeded = () => asked.result.createObjectStore('later');
    asked.onsuccess = () => { asked.result.close(); done(); };
})"""


@pytest.mark.parametrize("how", UNUSABLE)
def test_a_store_that_cannot_be_used_is_said_and_the_page_works(browser: Any, server: Served, how: str) -> None:
    script, sentence = UNUSABLE[how]
    with browser.new_context(reduced_motion="reduce") as context:
        tab = context.new_page()
        if how == "newer":
            tab.goto(f"{server.url}robots.txt")
            tab.evaluate(NEWER)
        else:
            tab.add_init_script(script)
        tab.goto(server.url)
        ask(tab, "what is it?", [SHAPES])
        ask(tab, "and now?")
        assert sentence in tab.inner_text("#lines")
        assert "You said: and now?" in conversation(tab) and len(server.backend.requests[-1].conversation.messages) == 3
        if how == "full":  # until somebody makes room
            tab.evaluate("window.room = true")
            ask(tab, "is there room?")
            tab.wait_for_function("() => !document.querySelector('#lines').innerText")
            tab.reload()
            says(tab, "You said: is there room?")
            assert "You said: what is it? (with shapes.png)" in conversation(tab)
            tab.wait_for_function("() => document.querySelector('#conversation .user-row img').naturalWidth > 0")
        if how == "silent":  # until it answers after all
            tab.evaluate("window.answer()")
            tab.wait_for_function("() => !document.querySelector('#lines').innerText")
            page = tab.context.new_page()  # whose browser answers at once
            page.goto(server.url)
            page.wait_for_selector(".earlier button:has-text('what is it?')")
        if how == "newer":
            assert tab.evaluate("indexedDB.databases().then((all) => all.map((one) => one.version))") == [99]


BROKEN = """(records) => new Promise((done) => {
    const asked = indexedDB.open('ovis');
    asked.onsuccess = () => {
        const writes = asked.result.transaction(['messages', 'conversations'], 'readwrite');
        for (const [store, record] of records) writes.objectStore(store).put(record);
        writes.oncomplete = () => { asked.result.close(); done(); };
    };
})"""


def mutated(conversation: str, number: int) -> list[dict[str, Any]]:
    """So many messages in a row, of which each has one field that is none; all but every tenth stay in their place."""
    dice, made = random.Random(20), list[dict[str, Any]]()
    odd = (None, True, -1, 7.5, "", "x", "x" * 5000, [], [None], [[[]]], {}, {"a": 1}, {"hash": "../x"}, 1e308)
    for place in range(number):
        message: dict[str, Any] = {
            "schema": 1, "id": f"{conversation}{place}", "conversation": conversation, "created": place,
            "parent": f"{conversation}{place - 1}" if place else None, "role": "assistant" if place % 2 else "user",
            "text": f"said {place}", "thinking": "hm", "finish": "end", "model": "M", "error": "",
            "files": [{"hash": "a" * 64, "name": "a.png", "kind": "image", "size": [4, 4]}], "detail": {"frames": 4},
            "stats": {"answer_tokens": 3, "remarks": ["small"]}, "asked": {"temperature": 1}, "wants": {"boxes": True},
            "pasted": [{"name": "a", "text": "b"}], "feedback": {"good": True}, "edited": False, "example": False,
            "by": "", "touched": 0, "lost": False,
        }  # fmt: skip
        keep = ("id", "conversation") if place % 10 == 9 else ("id", "conversation", "parent", "created")
        field = dice.choice([name for name in message if name not in keep])
        inner = message[field]
        if isinstance(inner, dict) and dice.random() < 0.5:
            inner[dice.choice(list(inner))] = dice.choice(odd)
        else:
            message[field] = dice.choice(odd)
        made.append(message)
    return made


def test_records_that_are_broken_are_left_out_and_said(open_tab: Open) -> None:
    tab = open_tab(accept_downloads=False)
    ask(tab, "one")
    ask(tab, "two")
    here = tab.evaluate("sessionStorage.getItem('ovis-conversation')")
    answer = tab.get_attribute(".bot-row", "data-id")
    odd = [
        {"id": f"odd{n}", "conversation": here, "role": role, "text": text, "parent": parent, "created": 1e99}
        for n, (role, text, parent) in enumerate(
            [("robot", 5, None), (None, {}, answer), ("user", [1], "odd1"), (7, None, 4)]
        )
    ]
    odd += [
        {"id": answer, "conversation": here, "role": "assistant", "text": None},
        {"id": "no place at all", "text": "x"},
    ]
    tab.evaluate(
        BROKEN, [["messages", one] for one in odd] + [["conversations", {"id": "bad", "title": {"a": 1}, "leaf": 4}]]
    )
    tab.reload()
    says(tab, "two")
    tab.wait_for_function("() => document.querySelector('#lines').innerText.includes('left out')")
    ask(tab, "three")
    assert "You said: three" in conversation(tab)
    tab.evaluate(BROKEN, [["messages", one] for one in mutated("mutated", 50)])
    tab.evaluate("sessionStorage.setItem('ovis-conversation', 'mutated')")
    tab.reload()
    says(tab, "said 4")
    assert len(tab.query_selector_all("#conversation .user-row, #conversation .bot-row")) >= 5
    assert "You said: three" not in conversation(tab)


BELOW = """() => {
    const shown = document.querySelector('#conversation .scroll');
    return shown.scrollHeight - shown.scrollTop - shown.clientHeight;
}"""
WHEEL_FIRST = """() => {
    const shown = document.querySelector('#conversation .scroll');
    shown.dispatchEvent(new WheelEvent('wheel', {deltaY: -1}));
    shown.dispatchEvent(new Event('scroll'));
    return document.querySelector('.newest').checkVisibility();
}"""


def further_up(tab: Any, size: dict[str, Any]) -> None:
    """By a wheel, or by a finger."""
    if "has_touch" in size:
        touch = tab.context.new_cdp_session(tab)
        for kind, down in [("Start", 100), *(("Move", down) for down in range(140, 540, 40)), ("End", None)]:
            points = [] if down is None else [{"x": 180, "y": down}]
            touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    else:
        tab.hover("#conversation .scroll")
        tab.mouse.wheel(0, -400)
    tab.wait_for_function(f"() => ({BELOW})() >= 300")


@pytest.mark.parametrize("size", SIZES, ids=["desktop", "phone"])
def test_who_reads_further_up_is_left_there_and_can_go_to_the_newest(open_tab: Open, size: dict[str, Any]) -> None:
    tab = open_tab(**size)
    ask(tab, "\n\n".join(f"line {number}" for number in range(40)))
    assert tab.evaluate(BELOW) < 24
    tab.fill("#box textarea", "slow")
    tab.press("#box textarea", "Enter")
    says(tab, "word3")
    assert tab.evaluate(BELOW) < 24 and not tab.is_visible(".newest")
    if "has_touch" not in size:
        assert tab.evaluate(WHEEL_FIRST), "a wheel upward is taken back by the news of the scroll before it"
    further_up(tab, size)
    assert tab.is_visible(".newest")
    at = tab.evaluate("document.querySelector('#conversation .scroll').scrollTop")
    says(tab, "word40")
    assert tab.evaluate("document.querySelector('#conversation .scroll').scrollTop") - at < 400
    assert tab.evaluate(BELOW) > 100
    tab.click(".newest")
    tab.wait_for_selector(".newest", state="hidden")
    assert tab.evaluate(BELOW) < 24
    tab.keyboard.press("Escape")
    figures(tab, 2)
    further_up(tab, size)
    tab.keyboard.press("Alt+r")  # what is asked comes into view, be it only asked again
    tab.wait_for_selector("#box .stop-button")
    tab.wait_for_function(f"() => ({BELOW})() < 24")
    tab.keyboard.press("Escape")
    figures(tab, 2)


def test_the_page_works_below_a_path_and_asks_for_nothing_outside_of_it(browser: Any, server: Served) -> None:
    """All that the page's own modules ask for is relative to the page: a proxy or a Space puts it anywhere."""
    with browser.new_context() as context:
        tab = context.new_page()
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(server.url)
        ask(tab, "what is it?", [SHAPES])
        paths = [urlsplit(url).path for url in asked if url.startswith(server.url)]
        own = [path for path in paths if path.startswith("/page/") or "call/ask" in path or path.endswith("upload")]
        assert len(own) >= 12 and all(url.startswith((server.url, "blob:", "data:")) for url in asked)
