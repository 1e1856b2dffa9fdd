"""The list of conversations: found, renamed, pinned, deleted, brought back, carried elsewhere as files and as code."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.browser.tabs import Open
from tests.browser.test_page import LEFT, RIGHT, ask, conversation, drop, figures, says, until
from tests.media.made_pdf import pdf, quarters
from tests.ui.serving import Served

DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True}
KEPT = """() => new Promise((done) => {
    const asked = indexedDB.open('ovis');
    asked.onsuccess = () => {
        const reads = asked.result.transaction(['messages', 'conversations', 'files']);
        const all = ['messages', 'conversations', 'files'].map((name) => reads.objectStore(name).getAll());
        reads.oncomplete = () => { asked.result.close(); done(all.map((one) => one.result.length)); };
    };
})"""


def new_chat(tab: Any) -> None:
    tab.click("#new-chat")
    tab.wait_for_selector("#conversation .example")


def open_list(tab: Any) -> None:
    tab.click("#library")
    tab.wait_for_selector(".library-search", state="visible")


def titles(tab: Any, *wanted: str) -> None:
    """Waits until the list has these titles, in this order."""
    tab.wait_for_function(
        "(w) => JSON.stringify([...document.querySelectorAll('.library-title')].map((e) => e.textContent)) === w",
        arg=json.dumps(list(wanted), ensure_ascii=False, separators=(",", ":")),
    )


def do(tab: Any, title: str, words: str) -> None:
    """Chooses something from the menu of a conversation."""
    tab.locator(".library-row", has_text=title).locator(".more").click()
    tab.locator(".ovis-menu button", has_text=words).click()


def dropped(tab: Any, *files: tuple[str, bytes]) -> str:
    """Drops files on the page, and gives what is said of them."""
    drop(tab, "#conversation", *files)
    tab.wait_for_selector(".ovis-toast")
    said = str(tab.inner_text(".ovis-toast span"))
    tab.evaluate("document.querySelector('.ovis-toast').remove()")  # the next one is of the next
    return said


def test_conversations_are_found_opened_renamed_and_pinned(open_fresh: Open) -> None:
    tab = open_fresh(**DESKTOP)
    assert not tab.is_visible("#library-list")  # on a first visit
    ask(tab, "Which has more?", [LEFT, RIGHT])
    new_chat(tab)
    ask(tab, "这张收据的总额是多少？")
    new_chat(tab)
    tab.fill("#box textarea", "not asked yet")
    open_list(tab)
    titles(tab, "not asked yet", "这张收据的总额是多少？", "Which has more?")
    assert tab.inner_text(".library-list h3") == "Today"
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#library-list", state="hidden")
    tab.focus("#box textarea")
    tab.keyboard.press("Control+k")
    tab.wait_for_function("() => document.activeElement.matches('.library-search')")
    tab.keyboard.type("总额")
    titles(tab, "这张收据的总额是多少？")
    tab.fill(".library-search", "LEFT.PNG you")  # in an answer alone
    titles(tab, "Which has more?")
    tab.click(".library-item")
    says(tab, "You said: Which has more?")
    tab.fill(".library-search", "nowhere to be found")
    tab.wait_for_selector(".library-none")
    tab.fill(".library-search", "")
    do(tab, "Which has more?", "Rename")
    tab.fill(".library-rename", "  Two pictures  ")
    tab.keyboard.press("Enter")
    do(tab, "这张收据", "Pin")
    titles(tab, "这张收据的总额是多少？", "not asked yet", "Two pictures")
    ask(tab, "and now?")  # what this tab writes of the conversation leaves its new name alone
    tab.reload()
    titles(tab, "这张收据的总额是多少？", "Two pictures", "not asked yet")
    assert [one.inner_text() for one in tab.locator(".library-list h3").all()] == ["Pinned", "Today"]
    tab.click(".library-item:has-text('not asked yet')")
    tab.wait_for_function("() => document.querySelector('#box textarea').value === 'not asked yet'")


def test_on_a_phone_the_list_slides_over_and_goes_once_something_is_chosen(open_fresh: Open) -> None:
    tab = open_fresh(**PHONE)
    ask(tab, "one")
    new_chat(tab)
    ask(tab, "two")
    open_list(tab)
    titles(tab, "two", "one")
    small = tab.evaluate(
        """() => [...document.querySelectorAll('#library-list :is(button, input[type=search])')]
             .filter((e) => e.checkVisibility() && (e.offsetHeight < 44 || e.offsetWidth < 44))
             .map((e) => `${e.className} ${e.offsetWidth}x${e.offsetHeight}`)"""
    )
    assert small == []
    tab.click(".library-item:has-text('one')")
    tab.wait_for_selector("#library-list", state="hidden")
    says(tab, "You said: one")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.fill("#box textarea", "slow")
    tab.press("#box textarea", "Enter")
    says(tab, "word1")
    open_list(tab)
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#library-list", state="hidden")
    assert tab.is_visible("#box .stop-button")  # the list went, and the answer goes on
    tab.keyboard.press("Escape")
    figures(tab, 2)
    open_list(tab)
    tab.reload()
    tab.wait_for_selector("#box textarea")
    assert not tab.is_visible("#library-list")


def test_what_is_deleted_can_be_brought_back_and_other_tabs_follow(open_fresh: Open) -> None:
    tab = open_fresh(**DESKTOP)
    for text in ("one", "two", "three"):
        new_chat(tab)
        ask(tab, text, [LEFT] if text == "two" else [])
    other = tab.context.new_page()
    other.goto(tab.url)
    other.wait_for_selector("#box textarea")
    open_list(other)
    titles(other, "three", "two", "one")
    other.click(".library-item:has-text('two')")
    says(other, "You said: two")
    open_list(tab)
    do(tab, "two", "Rename")
    tab.keyboard.type("zwei")
    tab.keyboard.press("Enter")
    titles(other, "three", "zwei", "one")
    do(tab, "zwei", "Delete")
    titles(tab, "three", "one")
    titles(other, "three", "one")
    other.wait_for_selector("#notice p")
    assert "deleted in another tab" in other.inner_text("#notice") and "You said" not in conversation(other)
    tab.click(".ovis-toast button:has-text('Undo')")
    titles(tab, "three", "zwei", "one")
    titles(other, "three", "zwei", "one")
    tab.click(".library-head .more")
    tab.click(".ovis-menu button:has-text('Choose several')")
    for title in ("three", "one"):
        tab.check(f".library-row:has-text('{title}') input")
    tab.click(".library-bar button:has-text('Delete')")
    titles(tab, "zwei")
    assert "2 conversations deleted" in tab.inner_text(".ovis-toast") and "You said" not in conversation(tab)
    tab.click(".ovis-toast button:has-text('Undo')")
    titles(tab, "three", "zwei", "one")
    says(tab, "You said: three")
    tab.click(".library-head .more")
    tab.click(".ovis-menu button:has-text('Delete all')")
    tab.wait_for_selector("dialog[open]")
    tab.keyboard.press("Escape")  # not after all
    tab.wait_for_selector("dialog", state="detached")
    titles(tab, "three", "zwei", "one")
    tab.click(".library-head .more")
    tab.click(".ovis-menu button:has-text('Delete all')")
    tab.click("dialog .grave")
    tab.wait_for_selector(".library-none")
    tab.click(".ovis-toast .leave")
    until(tab, lambda: tab.evaluate(KEPT)[:2] == [0, 0])


def test_a_temporary_chat_is_nowhere_once_it_is_left_unless_it_is_kept_after_all(
    open_fresh: Open, tmp_path: Path
) -> None:
    (tmp_path / "report.pdf").write_bytes(pdf([quarters(300), quarters(310)]))
    tab = open_fresh(**DESKTOP)
    tab.set_input_files("#box input[type=file]", [str(tmp_path / "report.pdf")])
    tab.wait_for_function("() => document.querySelectorAll('#box .opens').length === 2")
    tab.fill("#box textarea", "nobody's business")
    open_list(tab)
    tab.click(".library-head .temporary")
    tab.wait_for_selector("#lines p")
    assert "isn't kept" in tab.inner_text("#lines") and tab.input_value("#box textarea") == "nobody's business"
    ask(tab, "what is it?")
    ask(tab, "and why?")
    assert "You said: and why?" in conversation(tab) and tab.evaluate(KEPT) == [0, 0, 0]
    tab.reload()
    tab.wait_for_selector("#conversation .example")
    assert tab.evaluate(KEPT) == [0, 0, 0] and "isn't kept" not in tab.inner_text("#lines")
    tab.click(".library-head .temporary")
    ask(tab, "worth it", [LEFT])
    tab.click(".library-bar button:has-text('Keep')")
    titles(tab, "worth it")
    assert tab.evaluate(KEPT) == [2, 1, 1]
    tab.reload()
    says(tab, "You said: worth it")


def test_an_export_is_imported_elsewhere_and_asks_the_server_the_same(
    open_fresh: Open, server: Served, tmp_path: Path
) -> None:
    tab = open_fresh(accept_downloads=True, **DESKTOP)
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.click("#actions .switch:has-text('Think') label")
    ask(tab, "Which <b>has</b> more?", [LEFT, RIGHT])
    open_list(tab)
    saved = {}
    for words in ("Export (.ovis.zip)", "Export as Markdown", "Export as a web page"):
        with tab.expect_download() as download:
            do(tab, "Which", words)
        saved[words] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[words])
    archive, text, page = saved.values()
    assert archive.name.endswith(".ovis.zip") and "Which \\<b>has\\</b> more?" in text.read_text("utf-8")
    with zipfile.ZipFile(archive) as inside:
        assert inside.testzip() is None
        names = {f"media/{hashlib.sha256(file.read_bytes()).hexdigest()}.png" for file in (LEFT, RIGHT)}
        assert set(inside.namelist()) == {"conversation.json", *names}
    do(tab, "Which", "Copy as Python")
    tab.wait_for_selector(".ovis-toast")
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert f"{server.url}v1/chat/completions" in copied and all(name in copied for name in names)
    tab.locator(".bot-row .more").click()
    tab.locator(".ovis-menu .code").click()
    tab.locator(".ovis-menu button", has_text="curl").click()
    tab.wait_for_function("() => navigator.clipboard.readText().then((text) => text.includes('curl -sS'))")
    elsewhere = open_fresh(**DESKTOP)
    assert "imported" in dropped(elsewhere, (archive.name, archive.read_bytes()))
    says(elsewhere, "You said: Which <b>has</b> more?")
    elsewhere.wait_for_function(
        "() => [...document.querySelectorAll('.picture img')].filter((i) => i.naturalWidth).length === 2"
    )
    assert elsewhere.is_checked("#switch-thinking input")
    for one in (tab, elsewhere):
        ask(one, "and now?")
    own, theirs = server.backend.requests[-2:]
    assert own.settings == theirs.settings and own.settings.thinking
    for mine, its in zip(own.conversation.messages, theirs.conversation.messages, strict=True):
        assert (mine.text, mine.thinking) == (its.text, its.thinking)
        assert [one.path.read_bytes() for one in mine.media] == [one.path.read_bytes() for one in its.media]
    open_list(elsewhere)
    elsewhere.set_input_files("#library-list input[type=file]", str(archive))
    titles(elsewhere, "Which <b>has</b> more?", "Which <b>has</b> more?")
    elsewhere.goto(page.as_uri())
    assert elsewhere.evaluate("[...document.images].map((one) => one.naturalWidth > 0)") == [True, True]
    assert "Which <b>has</b> more?" in elsewhere.inner_text("body")


def exported(messages: list[dict[str, Any]], *files: tuple[str, bytes], version: int = 1) -> bytes:
    """An export as a stranger may write one."""
    told = {"format": "ovis-conversations", "version": version, "conversations": [{"id": "c", "messages": messages}]}
    with zipfile.ZipFile(out := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversation.json", json.dumps(told))
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.long
def test_what_is_wrong_with_a_file_that_is_dropped_is_said_and_the_page_goes_on(open_fresh: Open) -> None:
    tab = open_fresh(**DESKTOP)
    ask(tab, "mine")
    for name, data, sentence in (
        ("a.ovis.zip", b"PK no zip", "is damaged"),
        ("b.zip", exported([], version=99), "newer version"),
        ("c.zip", exported([{"id": "a b"}]), "is damaged"),
    ):
        assert sentence in dropped(tab, (name, data))
    page = b"<script>window.hacked = 1</script>"
    hostile = [
        {"id": "q", "parent": "a", "role": "user", "text": "<img src=x onerror='window.hacked=1'>", "created": 1,
         "files": [{"hash": hashlib.sha256(page).hexdigest(), "name": "<b>page</b>.png"}]},
        {"id": "a", "parent": "q", "role": "assistant", "text": "so be it", "created": 2,
         "stats": {"first_token_seconds": "x", "frame_times": {}}, "boxes": [{"name": {"toString": 1}}]},
        {"id": 7}, "no message",
    ]  # fmt: skip
    said = dropped(tab, ("d.zip", exported(hostile, (f"media/{hashlib.sha256(page).hexdigest()}.png", page))))
    assert "2 messages" in said and "“<b>page</b>.png”" in said
    says(tab, "so be it")
    assert "is no longer in this browser" in conversation(tab) and tab.evaluate("window.hacked") is None
    many = [
        {"id": f"m{n}", "parent": f"m{n - 1}" if n else None, "role": ("user", "assistant")[n % 2], "text": f"said {n}",
         "created": n}
        for n in range(10_000)
    ]  # fmt: skip
    dropped(tab, ("e.ovis.zip", exported(many)))
    says(tab, "said 9999")
    assert "said 9000" not in conversation(tab)
    tab.click(".before")
    says(tab, "said 9700")
    open_list(tab)
    tab.click(".library-item:has-text('mine')")
    says(tab, "You said: mine")
    ask(tab, "still here")


ROOM = """window.asked = 0;
    navigator.storage.persist = async () => { window.asked += 1; return true; };
    navigator.storage.estimate = async () => ({usage: window.used ?? 10, quota: 1000});"""
FULL = """() => {
    window.used = 900;
    const put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = function (record) {
        if (record.text === 'too much') throw new DOMException('full', 'QuotaExceededError');
        return put.call(this, record);
    };
}"""


def test_room_is_asked_for_once_there_is_something_to_keep_and_told_when_it_ends(browser: Any, server: Served) -> None:
    with browser.new_context(reduced_motion="reduce", **DESKTOP) as context:
        context.add_init_script(ROOM)
        tab = context.new_page()
        tab.goto(server.url)
        tab.wait_for_selector("#box textarea")
        assert tab.evaluate("window.asked") == 0
        ask(tab, "one")
        ask(tab, "two")
        assert tab.evaluate("window.asked") == 1
        tab.evaluate(FULL)
        before = tab.evaluate(KEPT)
        words = ["fine"] * 450  # more than are written in one piece
        messages = [{"id": f"m{n}", "role": "user", "text": text} for n, text in enumerate([*words, "too much"])]
        assert "no room" in dropped(tab, ("a.zip", exported(messages)))
        assert tab.evaluate(KEPT) == before and "You said: two" in conversation(tab)
        open_list(tab)
        tab.wait_for_selector(".library-foot", state="visible")
        assert "room are taken" in tab.inner_text(".library-foot")
        dropped(tab, ("b.zip", exported(messages[:-1])))
        assert tab.evaluate(KEPT) == [before[0] + 450, before[1] + 1, before[2]]
