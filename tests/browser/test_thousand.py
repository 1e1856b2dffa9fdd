"""A thousand kept conversations, a long one, and a browser that is full: what is read and drawn is counted."""

from __future__ import annotations

from tests.browser.tabs import Open
from tests.browser.test_page import LEFT as PICTURE
from tests.browser.test_page import ask, conversation, says, until
from tests.browser.test_sidebar import DESKTOP, open_list, titles

MANY, MOST_ROWS = 1000, 200
# So many conversations of two messages each, of which every hundredth has a picture and says "needle".
KEEP = """(count) => new Promise((done) => {
    const asked = indexedDB.open('ovis');
    asked.onsuccess = () => {
        const writes = asked.result.transaction(['messages', 'conversations', 'files'], 'readwrite');
        const put = (store, record) => writes.objectStore(store).put({schema: 1, ...record});
        for (let n = 0; n < count; n++) {
            const [id, rare] = [`c${n}`, n % 100 === 7];
            const file = {hash: String(n).padStart(64, '0'), name: 'a.png', kind: 'image'};
            const said = {conversation: id, created: n, finish: 'end'};
            put('conversations', {id, title: `chat ${n}`, created: n, changed: n, leaf: `a${n}`});
            const text = rare ? 'A Needle.' : 'Hay.';
            put('messages', {...said, id: `q${n}`, role: 'user', text: 'what?', files: rare ? [file] : []});
            put('messages', {...said, id: `a${n}`, parent: `q${n}`, role: 'assistant', text});
            if (rare) put('files', {hash: file.hash, added: 0, blob: new Blob(['x'])});
        }
        writes.oncomplete = () => { asked.result.close(); done(); };
    };
})"""
# Counts the records of messages that are read.
COUNTED = """window.read = 0;
    for (const kind of [IDBObjectStore, IDBIndex]) {
        const all = kind.prototype.getAll;
        kind.prototype.getAll = function (...one) {
            const asked = all.apply(this, one);
            const store = this.objectStore?.name ?? this.name;
            asked.addEventListener('success', () => { if (store === 'messages') window.read += asked.result.length; });
            return asked;
        };
    }"""
LEFT = """() => new Promise((done) => {
    const asked = indexedDB.open('ovis');
    asked.onsuccess = () => {
        const reads = asked.result.transaction(['messages', 'conversations', 'files']);
        const counts = ['messages', 'conversations', 'files'].map((name) => reads.objectStore(name).count());
        reads.oncomplete = () => { asked.result.close(); done(counts.map((one) => one.result)); };
    };
})"""
LONG = """(count) => new Promise((done) => {
    const asked = indexedDB.open('ovis');
    const words = Array.from({length: 40}, (_, n) => `${n}. **bold** and *more*, ${'word '.repeat(30)}`).join('\\n');
    asked.onsuccess = () => {
        const writes = asked.result.transaction(['messages', 'conversations'], 'readwrite');
        const put = (store, record) => writes.objectStore(store).put({schema: 1, ...record});
        put('conversations', {id: 'long', title: 'a long one', changed: 1, leaf: `m${count - 1}`});
        for (let n = 0; n < count; n++) {
            const said = n % 2 ? {role: 'assistant', text: words} : {role: 'user', text: `question ${n}`};
            const parent = n ? `m${n - 1}` : null;
            put('messages', {...said, id: `m${n}`, conversation: 'long', parent, created: n, finish: 'end'});
        }
        writes.oncomplete = () => { asked.result.close(); done(); };
    };
})"""
# How many answers still wait to be drawn at the moment that the newest is.
WAITING = """() => new Promise((done) => {
    const newest = () => document.querySelector('.turn:last-child .words .block');
    const waiting = () => document.querySelectorAll('.bot-row .words.plain').length;
    const seen = new MutationObserver(() => { if (newest()) { seen.disconnect(); done(waiting()); } });
    seen.observe(document.querySelector('#conversation'), {childList: true, subtree: true});
    document.querySelector('.library-item').click();
})"""

# Presses “Show earlier turns”, and gives how many more are there at once; `read_at`: how far what was first has moved.
EARLIER = """() => {
    const scroll = document.querySelector('#conversation .scroll');
    scroll.dispatchEvent(new WheelEvent('wheel', {deltaY: -1}));
    scroll.scrollTop = 0;
    const [first, button] = [document.querySelector('.turn'), document.querySelector('.before')];
    const [top, before] = [first.getBoundingClientRect().top, document.querySelectorAll('.turn').length];
    window.read_at = () => first.getBoundingClientRect().top - top;
    button.click();
    return document.querySelectorAll('.turn').length - before;
}"""
# From now on there is room for nothing more: whatever is put, what it is part of ends as a browser ends it then.
FULL = """() => {
    const put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = function (record) {
        const asked = put.call(this, record);
        Object.defineProperty(this.transaction, 'error', {value: new DOMException('full', 'QuotaExceededError')});
        this.transaction.abort();
        return asked;
    };
}"""
ASKED = """() => new Promise((done) => {
    const asked = indexedDB.open('ovis');
    asked.onsuccess = () => {
        const all = asked.result.transaction('messages').objectStore('messages').getAll();
        all.onsuccess = () => { asked.result.close(); done(all.result.map((one) => one.text)); };
    };
})"""


def test_of_a_thousand_conversations_few_rows_are_drawn_and_each_word_is_read_once(open_fresh: Open) -> None:
    tab = open_fresh(**DESKTOP)
    tab.evaluate(KEEP, MANY)
    tab.add_init_script(COUNTED)
    tab.reload()
    open_list(tab)
    tab.wait_for_selector(".library-row >> text=chat 999")
    assert tab.locator(".library-row").count() == MOST_ROWS and tab.evaluate("window.read") == 0
    tab.locator(".library-search").press_sequentially("needle", delay=150)  # slowly: each letter is looked for
    tab.wait_for_function("() => document.querySelectorAll('.library-row').length === 10")
    assert 2 * MANY <= tab.evaluate("window.read") <= 4 * MANY  # by the search, and perhaps once to tidy up
    tab.fill(".library-search", "")
    tab.click(".library-head .more")
    tab.click(".ovis-menu button:has-text('Delete all')")
    tab.click("dialog .grave")
    tab.wait_for_selector(".library-none")
    tab.click(".ovis-toast .leave")
    until(tab, lambda: tab.evaluate(LEFT) == [0, 0, 0])
    assert tab.evaluate("window.read") <= 6 * MANY  # by the search, to delete them, and once to tidy up


def test_of_a_long_conversation_the_newest_is_drawn_first_and_the_rest_while_the_page_goes_on(open_fresh: Open) -> None:
    tab = open_fresh(**DESKTOP)
    tab.evaluate(KEEP, 1)  # whose words load what draws them
    tab.evaluate(LONG, MANY)
    tab.reload()
    open_list(tab)
    tab.click(".library-item >> text=chat 0")
    tab.wait_for_selector(".bot-row .block")
    tab.fill(".library-search", "a long one")
    tab.wait_for_function("() => document.querySelectorAll('.library-row').length === 1")
    assert tab.evaluate(WAITING) > 20
    tab.wait_for_function("() => !document.querySelector('.bot-row .words.plain')")
    assert tab.locator(".turn").count() == MOST_ROWS
    assert tab.evaluate(EARLIER) < MOST_ROWS / 2  # and the page goes on
    tab.wait_for_function(f"() => document.querySelectorAll('.turn').length === {2 * MOST_ROWS}")
    tab.wait_for_function("() => !document.querySelector('.bot-row .words.plain')")
    assert abs(tab.evaluate("window.read_at()")) <= 10  # pixels: what is read stands where it stood


def test_a_browser_that_is_full_takes_a_deletion_and_goes_on_and_keys_stay_in_the_list(open_fresh: Open) -> None:
    tab = open_fresh(**DESKTOP)
    tab.evaluate(KEEP, 4)
    tab.reload()
    tab.wait_for_selector("#conversation .example")
    open_list(tab)
    tab.click(".library-item >> text=chat 2")
    says(tab, "what?")
    tab.evaluate(FULL)
    ask(tab, "is there room?", [PICTURE])
    assert tab.inner_text("#lines").count("no room left") == 1 and "is there room?" not in tab.evaluate(ASKED)
    titles(tab, "chat 2", "chat 3", "chat 1", "chat 0")
    tab.focus(".library-item:has-text('chat 3')")
    for left in (["chat 2", "chat 1", "chat 0"], ["chat 2", "chat 0"]):
        tab.keyboard.press("Delete")
        tab.hover(".ovis-toast")  # it can be taken back for as long as that
        titles(tab, *left)
    assert tab.evaluate("document.activeElement.innerText") == "chat 0"
    until(tab, lambda: tab.evaluate(LEFT)[1] == 3)  # the first is gone for good
    assert "You said: is there room?" in conversation(tab)
    ask(tab, "and now?")
    assert tab.locator("#conversation .user-row").count() == 3
