"""The page as people use it: every promise of the page, clicked."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.media.made import clip, corners, numbered
from tests.ui.serving import EXAMPLES, Served
from tests.waiting import PATIENCE

SHAPES, LEFT, RIGHT = (EXAMPLES / name for name in ("shapes.png", "left.png", "right.png"))
Open = Callable[..., Any]


def attach(tab: Any, files: Sequence[Path]) -> None:
    tab.set_input_files("#box input[type=file]", [str(path) for path in files])
    ready = "!document.querySelector('#box progress')"
    tab.wait_for_function(
        f"n => document.querySelectorAll('#box .thumbnail-item').length === n && {ready}", arg=len(files)
    )


def ask(tab: Any, text: str, files: Sequence[Path] = ()) -> None:
    """Sends a question and waits for the line of figures under its answer."""
    before = tab.locator(".figures").count()
    if files:
        attach(tab, files)
    tab.fill("#box textarea", text)
    tab.press("#box textarea", "Enter")
    figures(tab, before + 1)


DROP = """([at, files]) => {
    const carried = new DataTransfer();
    for (const [name, data] of files) {
        const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
        carried.items.add(new File([bytes], name, name.endsWith('.png') ? {type: 'image/png'} : {}));
    }
    for (const kind of ['dragover', 'drop']) {
        const event = new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: carried});
        document.querySelector(at).dispatchEvent(event);
    }
}"""


def drop(tab: Any, at: str, *files: tuple[str, bytes]) -> None:
    """Drops files somewhere on the page."""
    tab.evaluate(DROP, [at, [[name, base64.b64encode(data).decode()] for name, data in files]])


def figures(tab: Any, count: int) -> None:
    tab.wait_for_function("n => document.querySelectorAll('.figures').length === n", arg=count)
    tab.wait_for_selector("#box .submit-button")


def says(tab: Any, words: str) -> None:
    tab.wait_for_function("w => document.querySelector('#conversation')?.innerText.includes(w)", arg=words)


def do(tab: Any, action: str) -> None:
    """Presses what can be done with the last turn that has it."""
    tab.locator(f"#conversation {action}").last.click()


def until(tab: Any, condition: Callable[[], bool]) -> None:
    """Waits for something on the server's side, while the page goes on."""
    for _ in range(int(PATIENCE / 0.05)):
        if condition():
            return
        tab.wait_for_timeout(50)
    raise AssertionError("waited too long")


def conversation(tab: Any) -> str:
    return str(tab.inner_text("#conversation"))


def test_a_picture_and_a_question_get_an_answer(tab: Any) -> None:
    ask(tab, "What is on the picture?", [SHAPES])
    assert "You said: What is on the picture? (with shapes.png)" in conversation(tab)
    assert "64 visual tokens" in tab.inner_text(".figures")
    tab.wait_for_function("() => document.querySelector('#conversation .user-row img').naturalWidth > 0")
    assert tab.input_value("#box textarea") == "" and tab.locator("#box .thumbnail-item").count() == 0


def test_what_no_browser_shows_is_drawn_and_plays(tab: Any, tmp_path: Path) -> None:
    corners().save(tmp_path / "scan.tiff")
    ask(tab, "What is it?", [tmp_path / "scan.tiff"])
    seen = "document.querySelector('#conversation .user-row img')"
    tab.wait_for_function(f"() => {seen}.naturalWidth === 64 && {seen}.naturalHeight === 48")
    ask(tab, "And this?", [clip(tmp_path / "old.avi", map(numbered, range(20)), codec="mpeg4")])
    tab.wait_for_function(
        "() => { const clip = document.querySelector('#conversation video');"
        "return clip && clip.readyState >= 2 && clip.videoWidth === 64 && Math.abs(clip.duration - 2) < 0.1; }"
    )


def test_the_answer_streams_and_stop_keeps_what_was_said(tab: Any, server: Served) -> None:
    tab.fill("#box textarea", "slow")
    tab.press("#box textarea", "Enter")
    says(tab, "word3")
    assert tab.locator(".user-row .edit").is_disabled()
    tab.click("#box .stop-button")
    figures(tab, 1)
    assert tab.inner_text(".figures") == "stopped" and "word3" in conversation(tab)
    ask(tab, "and now?")
    until(tab, lambda: server.backend.live == 0)
    ask_again = conversation(tab)
    tab.fill("#box textarea", "next")
    assert conversation(tab) == ask_again  # nothing more arrives


def test_escape_stops_and_what_is_typed_meanwhile_stays(tab: Any) -> None:
    tab.fill("#box textarea", "slow")
    tab.press("#box textarea", "Enter")
    says(tab, "word1")
    tab.fill("#box textarea", "my next question")
    tab.press("#box textarea", "Enter")  # not yet: an answer is coming
    says(tab, "word40")  # two seconds of answer later it has had no effect
    assert tab.input_value("#box textarea") == "my next question"
    tab.press("#box textarea", "Escape")
    figures(tab, 1)
    assert tab.input_value("#box textarea") == "my next question"
    assert conversation(tab).count("my next question") == 0


def test_the_thought_opens_shows_its_duration_and_closes(tab: Any, server: Served) -> None:
    server.backend.answer.clear(), server.backend.finish.clear()
    tab.fill("#box textarea", "held")
    tab.press("#box textarea", "Enter")
    tab.wait_for_selector(".thought .words", state="visible")
    assert "Thinking" in tab.inner_text(".thought summary") and "I look at the picture." in conversation(tab)
    server.backend.answer.set()
    says(tab, "It is a circle.")
    tab.wait_for_selector(".thought .words", state="hidden")
    server.backend.finish.set()
    tab.wait_for_selector("#box .submit-button")
    assert tab.inner_text(".thought summary") == "Thought · 1.5 s · 5 of 512 tokens"
    tab.click(".thought summary")
    says(tab, "I look at the picture.")


def test_edit_keeps_the_attachments(tab: Any, server: Served) -> None:
    ask(tab, "Which has more?", [LEFT, RIGHT])
    tab.fill("#box textarea", "half a thought")
    do(tab, ".user-row .edit")
    tab.wait_for_selector("#leave-edit")
    assert tab.input_value("#box textarea") == "Which has more?"
    assert tab.locator("#box .thumbnail-item").count() == 2
    tab.fill("#box textarea", "Which has fewer?")
    tab.press("#box textarea", "Enter")
    says(tab, "You said: Which has fewer? (with left.png, right.png)")
    figures(tab, 1)
    assert "Which has more?" not in conversation(tab)
    assert tab.locator("#conversation .user-row img").count() == 2
    assert tab.input_value("#box textarea") == "half a thought"
    assert len(server.backend.requests[-1].conversation.messages) == 1
    do(tab, ".user-row .edit")
    tab.click("#box .delete-button >> nth=0")
    tab.set_input_files("#box input[type=file]", [str(SHAPES)])
    tab.wait_for_selector("#box .opens img[alt='Image 2: shapes.png']")
    tab.press("#box textarea", "Enter")
    says(tab, "You said: Which has fewer? (with right.png, shapes.png)")
    figures(tab, 1)
    do(tab, ".user-row .back")
    says(tab, "You said: Which has fewer? (with left.png, right.png)")


def test_the_composer_grows_with_the_question_and_shrinks_again(tab: Any) -> None:
    height = "() => document.querySelector('#box').offsetHeight"
    before = tab.evaluate(height)
    tab.fill("#box textarea", "line\n" * 12)
    tab.wait_for_function(f"h => ({height})() > h + 100", arg=before)
    tab.press("#box textarea", "Enter")
    figures(tab, 1)
    tab.wait_for_function(f"h => ({height})() === h", arg=before)


def test_pictures_have_names_for_those_who_cannot_see_them(tab: Any) -> None:
    ask(tab, "Which has more?", [LEFT, RIGHT])
    pictures = tab.locator("#conversation .user-row img")
    assert [one.get_attribute("alt") for one in pictures.all()] == ["Image 1: left.png", "Image 2: right.png"]


def test_words_run_in_the_direction_of_their_own_script(tab: Any) -> None:
    ask(tab, "مرحبا?")
    ends = """() => { const text = document.querySelector('.question').firstChild, at = (i) => {
        const range = document.createRange(); range.setStart(text, i); range.setEnd(text, i + 1);
        return range.getBoundingClientRect().left; }; return [at(0), at(text.length - 1)]; }"""
    first, last = tab.evaluate(ends)
    assert last < first  # the question mark stands at the left, where the sentence ends


def test_leaving_an_edit_brings_the_draft_back(tab: Any) -> None:
    ask(tab, "one")
    tab.fill("#box textarea", "draft")
    do(tab, ".user-row .edit")
    tab.click("#leave-edit")
    tab.wait_for_selector("#leave-edit", state="hidden")
    assert tab.input_value("#box textarea") == "draft" and "You said: one" in conversation(tab)


def test_regenerating_makes_a_version_beside_and_deleting_takes_all_that_followed(tab: Any, server: Served) -> None:
    ask(tab, "first")
    ask(tab, "second")
    asked = len(server.backend.requests)
    do(tab, ".bot-row .again")
    until(tab, lambda: len(server.backend.requests) == asked + 1)
    tab.wait_for_function("() => document.querySelector('.bot-row:last-child .versions')?.innerText.includes('2/2')")
    assert len(server.backend.requests[-1].conversation.messages) == 3
    do(tab, ".bot-row .back")
    tab.wait_for_function("() => document.querySelector('.bot-row:last-child .versions')?.innerText.includes('1/2')")
    do(tab, ".user-row .delete")
    figures(tab, 1)
    assert "second" not in conversation(tab) and "You said: first" in conversation(tab)


def test_any_question_can_be_edited_and_what_was_said_before_stays_a_version(tab: Any, server: Served) -> None:
    ask(tab, "first")
    ask(tab, "second")
    tab.locator(".user-row .edit").first.click()
    tab.wait_for_function("() => document.querySelector('#box textarea').value === 'first'")
    tab.fill("#box textarea", "other")
    tab.press("#box textarea", "Enter")
    says(tab, "You said: other")
    figures(tab, 1)
    assert "second" not in conversation(tab)
    do(tab, ".user-row .back")
    says(tab, "You said: second")
    assert "other" not in conversation(tab)


def test_an_error_stands_where_the_answer_would_be_and_can_be_retried(tab: Any, server: Served) -> None:
    tab.fill("#box textarea", "please fail")
    tab.press("#box textarea", "Enter")
    tab.wait_for_selector(".problem:visible")
    assert "out of memory" in tab.inner_text(".problem:visible")
    asked = len(server.backend.requests)
    do(tab, ".retry")
    until(tab, lambda: len(server.backend.requests) == asked + 1)
    tab.wait_for_function("() => document.querySelector('.bot-row .versions')?.innerText.includes('2/2')")
    tab.wait_for_selector(".problem:visible")


def test_files_are_dropped_anywhere_and_of_a_refused_one_nothing_else_is_lost(tab: Any) -> None:
    tab.fill("#box textarea", "Look at these")
    late: list[Any] = []
    tab.route("**/gradio_api/upload*", lambda route: route.continue_() if late else late.append(route))
    drop(tab, "#header", ("left.png", LEFT.read_bytes()), ("broken.png", b"this is no picture"))
    tab.wait_for_selector(
        "#box .thumbnail-item:has(progress[aria-label='Uploading left.png']) .name:has-text('left.png')"
    )
    late[0].continue_()
    tab.wait_for_selector("#notice p")
    assert "broken.png" in tab.inner_text("#notice")
    assert tab.input_value("#box textarea") == "Look at these"
    tab.wait_for_function("() => document.querySelectorAll('#box .thumbnail-item').length === 1")
    tab.press("#box textarea", "Enter")
    figures(tab, 1)
    assert "(with left.png)" in conversation(tab) and tab.locator("#notice p").count() == 0


@pytest.mark.parametrize("typed", ["<image>", "<b>bold</b> & **stars**", "  two\n    four  spaces"])
def test_what_is_typed_is_shown_verbatim(tab: Any, typed: str) -> None:
    ask(tab, typed)
    assert tab.evaluate("document.querySelector('.question').textContent") == typed
    shown = tab.inner_text(".question")
    assert shown.replace("\u00a0", " ") == typed


def test_markup_in_an_answer_is_text_and_scripts_never_run(tab: Any) -> None:
    ask(tab, "<b>cup</b><ref><img src=x onerror='window.hacked=1'></ref><script>1</script>")
    says(tab, "You said: <b>cup</b><img src=x onerror='window.hacked=1'><script>1</script>")
    assert tab.evaluate("window.hacked") is None


def test_new_chat_while_an_answer_comes_leaves_an_empty_page(tab: Any, server: Served) -> None:
    tab.fill("#box textarea", "slow")
    tab.press("#box textarea", "Enter")
    says(tab, "word1")
    tab.click("#new-chat")
    tab.wait_for_selector("#conversation .example")
    tab.wait_for_selector("#box .submit-button")
    until(tab, lambda: server.backend.live == 0)
    ask(tab, "fresh")
    assert "slow" not in conversation(tab)


def test_an_example_is_asked_with_one_click_and_turns_thinking_on(tab: Any, server: Served) -> None:
    tab.click("#conversation .example:has-text('count')")
    figures(tab, 1)
    assert tab.locator("#conversation .user-row img").count() == 1
    assert server.backend.requests[-1].settings.thinking
    ask(tab, "and now?")
    assert not server.backend.requests[-1].settings.thinking  # it was asked for by the example alone


def test_a_second_tab_has_its_own_conversation(open_tab: Open) -> None:
    one, two = open_tab(), open_tab()
    ask(one, "only in the first")
    assert "only in the first" not in conversation(two)
    ask(two, "only in the second")
    assert "only in the second" not in conversation(one)


def test_settings_are_closed_open_reach_the_model_and_reset(tab: Any, server: Served) -> None:
    assert not tab.is_visible("#knob-temperature")
    tab.click("#settings")
    tab.wait_for_selector("#knob-temperature", state="visible")
    tab.fill("#knob-temperature input[type=number]", "0.7")
    tab.press("#knob-temperature input[type=number]", "Tab")
    tab.fill("#system textarea", "Be brief.")
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#knob-temperature", state="hidden")
    ask(tab, "hello")
    wanted = server.backend.requests[-1].settings
    assert wanted.temperature == 0.7 and wanted.system == "Be brief."
    tab.click("#settings")
    tab.click("#reset")
    tab.wait_for_function("() => document.querySelector('#knob-temperature input[type=number]').value === '0'")
    assert tab.input_value("#system textarea") == ""
    digits = "#knob-temperature input[type=number]"
    tab.press("#knob-temperature input[type=range]", "ArrowRight")
    assert tab.input_value(digits) == "0.05"
    tab.fill(digits, "50")
    tab.press(digits, "Tab")
    assert tab.input_value(digits) == "2"  # as far as it goes
    ask(tab, "and now?")
    assert server.backend.requests[-1].settings.temperature == 2


def test_a_picture_opens_large_and_closes(tab: Any) -> None:
    ask(tab, "look", [SHAPES])
    tab.click("#conversation .picture")
    tab.wait_for_selector("dialog.viewer img")
    tab.keyboard.press("Escape")
    tab.wait_for_selector("dialog.viewer", state="detached")


def test_what_is_typed_outlives_a_reload(tab: Any) -> None:
    tab.fill("#box textarea", "not yet sent")
    tab.reload()
    tab.wait_for_function("() => document.querySelector('#box textarea')?.value === 'not yet sent'")
    tab.press("#box textarea", "Enter")
    says(tab, "You said: not yet sent")


def test_keys_are_ignored_while_an_input_method_composes(tab: Any) -> None:
    tab.fill("#box textarea", "slow")
    tab.press("#box textarea", "Enter")
    says(tab, "word1")
    tab.evaluate(
        "document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', isComposing: true, bubbles: true}))"
    )
    says(tab, "word6")
    tab.keyboard.press("Escape")
    figures(tab, 1)


@pytest.mark.parametrize("width", [360, 430])
def test_on_a_phone_nothing_overflows_and_targets_are_large(open_tab: Open, width: int) -> None:
    phone = open_tab(viewport={"width": width, "height": 780}, has_touch=True)
    ask(phone, "A long word: " + "x" * 200, [LEFT, RIGHT])
    assert phone.evaluate("document.documentElement.scrollWidth") <= width
    assert phone.evaluate("document.querySelector('#conversation .scroll').scrollWidth") <= width
    box = phone.locator("#box").bounding_box()
    assert box["y"] + box["height"] <= 780 and box["x"] >= 0 and box["x"] + box["width"] <= width
    small = phone.evaluate(
        """() => [...document.querySelectorAll('#header button, #composer button, #actions label')]
             .filter((e) => e.offsetParent && (e.offsetHeight < 44 || e.offsetWidth < 44
                                               || e.getBoundingClientRect().right > innerWidth))
             .map((e) => `${e.id || e.className} ${e.offsetWidth}x${e.offsetHeight}`)"""
    )
    assert small == []


def test_dark_follows_the_system_and_can_be_chosen(open_tab: Open) -> None:
    dark = open_tab(color_scheme="dark")

    def background() -> str:
        return str(dark.evaluate("getComputedStyle(document.querySelector('gradio-app')).backgroundColor"))

    dark.wait_for_function("() => document.body.classList.contains('dark')")
    night = background()
    dark.click("#theme")
    dark.wait_for_function("() => !document.body.classList.contains('dark')")
    until(dark, lambda: background() != night)
    dark.reload()
    dark.wait_for_selector("#box textarea")
    dark.wait_for_function("() => !document.body.classList.contains('dark')")


def test_a_long_name_of_a_model_leaves_the_state_its_place(tab: Any) -> None:
    tab.set_viewport_size({"width": 760, "height": 700})
    tab.evaluate("document.getElementById('model').textContent = 'taught of many shapes '.repeat(5).trim()")
    whole = "(one) => one.scrollWidth <= one.clientWidth"
    assert tab.locator("#title h1").evaluate(whole) and tab.locator("#status .pill").evaluate(whole)
    assert not tab.locator("#model").evaluate(whole)
    tab.hover("#model")
    assert str(tab.get_attribute("#model", "title")).endswith("many shapes")
