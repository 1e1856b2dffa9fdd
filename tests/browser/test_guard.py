"""What a browser makes of hostile uploads and of the guard's headers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ovis_app.media import file_store
from tests.browser.test_page import RIGHT, SHAPES, ask, attach
from tests.media.made import clip, numbered
from tests.ui.hostile import FILES, RAN, TEXTS, spellings
from tests.ui.serving import Served, Wire
from tests.waiting import until

Open = Callable[..., Any]


@pytest.fixture
def stored(server: Served, tmp_path: Path) -> dict[str, str]:
    """Where each hostile file lies after its upload."""
    wire = Wire(server)
    paths = {}
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
        paths[name] = wire.upload(tmp_path / name)
    wire.close()
    return paths


class Watched:
    """A tab that notes which documents it gets, and whether a script of a file ran in one of them."""

    def __init__(self, context: Any) -> None:
        self.said: list[str] = []
        self.tab = context.new_page()
        self.tab.on("console", lambda message: self.said.append(message.text))

    def visit(self, address: str) -> None:
        """Opens an address; a download or a refusal opens nothing."""
        from playwright.sync_api import Error

        try:
            self.tab.goto(address, wait_until="load")
        except Error as error:
            assert "Download is starting" in str(error) or "ERR_" in str(error), error
            return
        here = self.tab.evaluate("({origin: self.origin, kind: document.contentType, title: document.title})")
        assert RAN not in here["title"], address
        # Only refusals have the page's origin: 404 as text, or as Gradio's JSON for what isn't among its own files.
        assert here["origin"] == "null" or here["kind"] in ("text/plain", "application/json"), (address, here)

    @property
    def ran(self) -> bool:
        return any(RAN in text for text in self.said)


@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("page.html", 5),
        pytest.param("page.html", 1, marks=pytest.mark.long),
        pytest.param("drawing.svg", 1, marks=pytest.mark.long),
    ],
)
def test_no_spelling_opens_an_upload_as_a_page(
    browser: Any, server: Served, stored: dict[str, str], name: str, every: int
) -> None:
    with browser.new_context(accept_downloads=False) as context:
        watched = Watched(context)
        for target in list(spellings(stored[name]))[::every]:
            watched.visit(server.url.rstrip("/") + target)
        assert not watched.ran


def test_no_upload_opens_as_a_page(browser: Any, server: Served, stored: dict[str, str]) -> None:
    with browser.new_context(accept_downloads=False) as context:
        watched = Watched(context)
        for path in stored.values():
            for target in list(spellings(path))[:3]:
                watched.visit(server.url.rstrip("/") + target)
        assert not watched.ran


LOADS = """async (address) => {
    const tries = [
        ['script', {src: address}], ['script', {src: address, type: 'module'}], ['iframe', {src: address}],
        ['object', {data: address}], ['embed', {src: address}], ['link', {rel: 'stylesheet', href: address}],
        ['link', {rel: 'import', href: address}], ['img', {src: address}], ['video', {src: address}],
    ];
    for (const [kind, fields] of tries) {
        const element = Object.assign(document.createElement(kind), fields);
        await new Promise((done) => {
            element.onload = element.onerror = done;
            setTimeout(done, 300);
            document.body.append(element);
        });
    }
    let worker = 'no';
    try { new Worker(address); } catch { }
    try { await navigator.serviceWorker.register(address); worker = 'registered'; } catch { }
    return worker;
}"""


def test_the_page_itself_can_load_no_upload_as_script(open_tab: Open, server: Served, stored: dict[str, str]) -> None:
    tab = open_tab(accept_downloads=False)
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    for name in ("script.js", "module.mjs", "polyglot.gif", "drawing.svg", "page.html", "html.png"):
        address = f"{server.url}gradio_api/file={stored[name]}"
        assert tab.evaluate(LOADS, address) == "no"
    assert not any(RAN in text for text in said) and RAN not in tab.title()


def test_the_page_breaks_none_of_its_own_rules(open_tab: Open, tmp_path: Path) -> None:
    tab = open_tab(accept_downloads=True)
    said: list[str] = []
    missing: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("response", lambda response: missing.append(response.url) if response.status >= 400 else None)
    tab.reload()
    tab.wait_for_selector("#box textarea")
    ask(tab, "What is it?", [SHAPES])
    tab.wait_for_function("() => document.querySelector('.user-row img').naturalWidth > 0")
    ask(tab, "And this?", [clip(tmp_path / "moves.mp4", map(numbered, range(20)))])
    tab.wait_for_function("() => document.querySelector('.user-row video')?.videoWidth > 0")
    assert not [text for text in said if "Content Security Policy" in text or "Refused to" in text]
    assert missing == []


CLICKS = """() => {
    const before = location.href;
    for (const element of document.querySelectorAll('#conversation .words a')) {
        if (/^https?:/.test(element.href) && element.target === '_blank' && element.rel.includes('noopener')) continue;
        element.removeAttribute('target');
        element.dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true}));
    }
    return before === location.href;
}"""


def test_nothing_that_a_model_writes_runs(open_tab: Open, server: Served) -> None:
    """Both as an answer, which is Markdown, and as a question, which is text."""
    tab = open_tab(accept_downloads=False)
    said, foreign = list[str](), list[str]()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("dialog", lambda dialog: said.append(RAN) or dialog.dismiss())
    tab.on("request", lambda asked: foreign.append(asked.url) if asked.url.startswith("http") else None)
    assert len(TEXTS) >= 40
    for at in range(0, len(TEXTS), 6):  # the scripted answer repeats the question
        ask(tab, "\n\n".join(TEXTS[at : at + 6]))
    assert tab.evaluate(CLICKS)
    tab.wait_for_timeout(300)
    assert tab.locator(".question").count() == -(-len(TEXTS) // 6)
    ran = [text for text in said if text == RAN]
    assert not ran and not [url for url in foreign if not url.startswith(server.url)]
    policy = tab.evaluate("fetch('./').then((page) => page.headers.get('content-security-policy'))")
    assert "script-src-attr 'none'" in policy and "default-src 'self'" in policy


# What sends or asks for something, in the ways that Markdown, HTML, diagrams and mistakes in them offer.
FORMS = (
    '<form action="./" id="f"><label>Password <input name="p" type="password"></label><button>Sign in</button></form>',
    '<form action="logout" method="post"><input type="submit" value="Go"><input type="image" src="x"></form>',
    '<div><b><form action="gradio_api/reset" method=post><div><button formaction="./">Go on</button></div></form></b>',
    '<button form="f" type="submit">Send</button><select><option>One</option></select><input list="d">',
    '<div class="code_wrap"><form action="./"><button class="copy_code_button">Copy</button></form></div>',
    '<dialog open><form method="dialog"><fieldset><legend>Hm</legend><button>OK</button></fieldset></form></dialog>',
    "- one\n- <form action='./'><button>In a list</button></form>\n\n| a |\n|---|\n| <button form=f>cell</button> |",
    '<details open><summary>x</summary><form action="./"><button>Inside</button></form></details>',
    '```mermaid\nflowchart LR\n  A["<form action=./><button>Node</button></form>"] --> B\n```',
    '<svg><foreignObject><form action="./"><button>Svg</button></form></foreignObject></svg>',
    '<a href="#x" ping="logout">link</a> <input autofocus onfocus="x">',
)
OURS = ".code-head, .sheet-tools"  # buttons of the page's own, beside code and tables
PRESSES = f"""() => {{
    for (const element of document.querySelectorAll('#conversation .words *')) {{
        if (element.closest('a, {OURS}')) continue;
        element.dispatchEvent(new MouseEvent('click', {{bubbles: true, cancelable: true}}));
        element.requestSubmit?.();
    }}
}}"""
ARMS = ":is(form, input, select, textarea, dialog, button, details, svg, img, [ping], [id])"
ARMED = f"#conversation .words {ARMS}:not(:is({OURS}) *)"


def test_nothing_that_a_model_writes_sends_or_asks_for_anything(open_tab: Open, server: Served) -> None:
    tab = open_tab(accept_downloads=False)
    tab.evaluate("window.same = true")
    asked = list[str]()
    ask(tab, "\n\n".join(FORMS))
    ask(tab, "Tasks:\n\n- [x] a task\n\n```html\n<form action='./'><button>code</button></form>\n```")
    tab.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    tab.wait_for_timeout(500)  # diagrams are drawn later
    assert tab.locator(ARMED).count() == 0
    tab.evaluate(PRESSES)
    tab.wait_for_timeout(300)
    assert tab.evaluate("window.same") and tab.url == server.url and asked == []
    assert tab.evaluate("document.activeElement.closest('.words')") is None
    said = tab.inner_text("#conversation .turns")
    assert "Password" in said and "Sign in" in said and "In a list" in said
    code = tab.locator("#conversation .bot-row pre code").last
    assert "<form action='./'><button>code</button></form>" in code.inner_text()


def test_a_model_draws_over_nothing_but_its_conversation(open_tab: Open) -> None:
    tab = open_tab(accept_downloads=False)
    over = "position:fixed !important;inset:-2000px;z-index:2147483647;background:red"
    ask(tab, f'<div style="{over}">Your session ended: <a href="https://example.org">sign in</a></div>')
    for place in ("#box textarea", "#model", "#new-chat"):
        tab.click(place, trial=True)


def test_a_file_that_is_never_sent_goes_with_its_tab(
    open_tab: Open, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_store, "LEFT_SECONDS", 0.0)
    tab = open_tab(accept_downloads=False)
    before = set(server.store.folder.iterdir())
    attach(tab, [SHAPES, RIGHT])
    assert len(set(server.store.folder.iterdir()) - before) >= 2
    tab.close()
    until(lambda: server.store.sweep() or not set(server.store.folder.iterdir()) - before)


def test_the_policy_holds_where_the_sanitizer_would_fail(open_tab: Open) -> None:
    tab = open_tab(accept_downloads=False)
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.evaluate("(texts) => { document.body.insertAdjacentHTML('beforeend', texts.join('')); }", list(TEXTS))
    tab.wait_for_timeout(300)
    assert RAN not in said
