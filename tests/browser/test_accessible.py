"""The page for whoever doesn't see it, sees it otherwise, or uses no mouse. Rules are checked by axe-core."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_page import LEFT, SHAPES, ask, attach
from tests.media.made_pdf import pdf, quarters
from tests.ui.serving import EXAMPLES, Served

Open = Callable[..., Any]
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
RUN = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
  .filter((one) => ['serious', 'critical'].includes(one.impact))
  .flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.target.join(' ')} ${node.failureSummary}`))"""
TABLE = "a table:\n\n| shape | count |\n|---|---|\n| circle | 2 |\n\nand `code` with [a link](https://example.org)"

BOXED = TABLE + "\n\nWith $x^2$ and <ref>the circle</ref><box>(0.1,0.1),(0.4,0.4)</box>."
HEAR = """() => {
  const live = '[role=status], [role=alert], [aria-live=polite], [aria-live=assertive]';
  window.heard = [];
  new MutationObserver((changes) => changes.forEach(({target}) => {
    const line = (target.closest ? target : target.parentElement).closest(live);
    if (line?.closest('#conversation, .unseen')) window.heard.push(line.textContent);
  })).observe(document.body, {childList: true, characterData: true, subtree: true}); }"""
FOCUSED = """() => {
  const one = document.activeElement, style = getComputedStyle(one);
  const seen = (style.outlineStyle !== 'none' || one.matches('#box textarea')) && style.opacity > 0.3;
  return [one.getAttribute('aria-label') || one.innerText || one.id || one.tagName, seen]; }"""
COLOURS = """
  const clear = (colour) => /^rgba.*, 0\\)$/.test(colour);
  const fill = (one, part) => getComputedStyle(one, part).backgroundColor;
  const ground = (one) => {
    while (one && clear(fill(one))) one = one.parentElement;
    return one ? fill(one) : 'rgb(255, 255, 255)'; };
  const share = (one) => (one / 255 <= .03928 ? one / 255 / 12.92 : ((one / 255 + .055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(share);
    return .2126 * r + .7152 * g + .0722 * b; };
  const contrast = (one, other) => { const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + .05) / (low + .05); };
"""
FAINT = f"""() => {{ {COLOURS}
  return [...document.querySelectorAll('[placeholder]')].filter((one) => one.placeholder)
    .map((one) => [one.placeholder, contrast(getComputedStyle(one, '::placeholder').color, ground(one))])
    .filter(([, found]) => found < 4.5); }}"""
NO_ICON = f"""() => {{ {COLOURS}
  return [...document.querySelectorAll('#header button.icon, #box button:not([hidden])')]
    .filter((one) => contrast(fill(one, '::before'), ground(one)) < 3).map((one) => one.className); }}"""


def violations(tab: Any) -> list[str]:
    if not tab.evaluate("typeof axe === 'object'"):
        tab.evaluate(AXE.read_text("utf-8"))
    return list(tab.evaluate(RUN))


@pytest.mark.parametrize(
    ("scheme", "width", "locale"),
    [
        ("light", 1280, "en"),
        ("dark", 390, "zh-CN"),
        pytest.param("dark", 1280, "en", marks=pytest.mark.long),
        pytest.param("light", 390, "en", marks=pytest.mark.long),
    ],
)
def test_no_rule_of_axe_is_broken_seriously(open_tab: Open, scheme: str, width: int, locale: str) -> None:
    tab = open_tab(viewport={"width": width, "height": 800}, color_scheme=scheme, locale=locale)
    tab.wait_for_selector(".example")
    assert violations(tab) == []
    ask(tab, TABLE, [SHAPES])
    tab.wait_for_selector(".words table")
    assert violations(tab) == []
    tab.locator("#conversation .user-row .edit").click()
    tab.set_input_files("#box input[type=file]", [str(LEFT)])
    tab.wait_for_function("() => document.querySelectorAll('#box .thumbnail-item img').length === 2")
    assert violations(tab) == []
    tab.click("#settings")
    tab.wait_for_selector("#reset")
    assert violations(tab) == []


@pytest.mark.parametrize(("scheme", "width", "locale"), [("light", 1280, "en"), ("dark", 390, "zh-CN")])
def test_no_window_of_the_page_breaks_a_rule(
    open_tab: Open, tmp_path: Path, scheme: str, width: int, locale: str
) -> None:
    tab = open_tab(viewport={"width": width, "height": 800}, color_scheme=scheme, locale=locale)
    document = tmp_path / "report.pdf"
    document.write_bytes(pdf([quarters(300), quarters(310)]))
    found = {}

    def looked(what: str, *opens: str, there: str) -> None:
        for selector in opens:
            tab.locator(selector).last.click()
        tab.wait_for_selector(there)
        found[what] = violations(tab)

    def closed(window: str) -> None:
        tab.keyboard.press("Escape")
        tab.wait_for_selector(window, state="detached")

    ask(tab, BOXED, [SHAPES])
    looked("an answer's menu", "#conversation .bot-row .more", there=".ovis-menu")
    looked("the workbench", ".ovis-menu .workbench", there="dialog.workbench[open] .katex")
    closed("dialog.workbench")
    looked("boxes in the viewer", "#conversation .open-large", there="dialog.viewer[open] .mark")
    looked("what the model sees", ".viewer .sees-shown", there=".viewer .seen-panel select, .viewer .seen-cover path")
    looked("drawing", ".viewer .sees-shown", ".viewer .draw-on", there=".viewer .sketch")
    tab.keyboard.press("Escape")
    looked("a part", ".viewer .select-part", there=".viewer .region")
    tab.keyboard.press("Escape")
    closed("dialog.viewer")
    attach(tab, [EXAMPLES / "clip.mp4", document])
    looked("moments of a clip", "#box .clip:not(:last-child) .opens", there=".ovis-panel .strip img")
    closed(".ovis-panel")
    looked("pages of a document", "#box .thumbnail-item:last-child .opens", there=".ovis-panel .pages img")
    closed(".ovis-panel")
    tab.locator("#box .thumbnail-item button:not(.opens)").last.click()  # a clip goes alone
    tab.fill("#box textarea", "Which?")
    looked("what a question takes", "#cost summary", there="#cost[open], #cost [open]")
    looked("the other settings", ".compare-button", there=".settings-table")
    tab.locator(".settings-table input[type=number]").nth(1).fill("1.5")
    looked("both answers", ".ovis-dialog .primary", there="#conversation .twin + .twin .figures")
    looked("conversations", "#library", there=".library-row")
    tab.keyboard.press("Escape")
    looked("models", "#model", there="#model-list label")
    assert not (broken := [f"{what}: {one}" for what, them in found.items() for one in them]), "\n".join(broken)


def test_an_answer_is_read_out_once_and_not_word_by_word(open_tab: Open, server: Served) -> None:
    tab = open_tab(locale="en")
    tab.evaluate(HEAR)
    ask(tab, "a question of several words that comes back word by word")
    answer = "You said: a question of several words that comes back word by word"
    first, *between, last = tab.evaluate("window.heard")
    assert first == "The answer is on its way." and last.strip() == f"Answer: {answer}"
    assert not any("word" in one for one in between)  # what it waits for, on a slow machine
    tab.fill("#box textarea", "crash")
    tab.press("#box textarea", "Enter")
    tab.wait_for_selector(".problem >> visible=true")
    tab.wait_for_function("window.heard.at(-1).startsWith('Something went wrong')")
    tab.reload()
    tab.wait_for_selector(".problem >> visible=true")
    assert tab.inner_text(".unseen[role=status]") == ""  # what was there before isn't read out


def test_on_a_phone_an_open_panel_keeps_the_focus_and_gives_it_back(open_tab: Open) -> None:
    tab = open_tab(viewport={"width": 390, "height": 800}, locale="en")
    tab.click("#settings")
    tab.wait_for_function("() => document.activeElement.id === 'close-settings'")
    assert tab.get_attribute("#drawer", "role") == "dialog" and tab.get_attribute("#drawer", "aria-modal") == "true"
    assert tab.get_attribute("#drawer", "aria-label") == "Settings"
    for _ in range(40):
        tab.keyboard.press("Tab")
        assert tab.evaluate(
            "document.activeElement.closest('#drawer') !== null || document.activeElement === document.body"
        )
    tab.keyboard.press("Escape")
    tab.wait_for_function("() => document.activeElement.id === 'settings'")
    assert tab.get_attribute("#drawer", "aria-modal") is None
    tab.fill("#box textarea", "typed")  # nothing is kept from anybody any more


def test_everything_is_reached_by_keys_in_the_order_of_the_page_and_seen(open_tab: Open) -> None:
    tab = open_tab(locale="en")
    ask(tab, "What is it?", [SHAPES])
    tab.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(30):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate(FOCUSED))
    names = [name for name, _ in reached]
    wanted = [
        "Ovis-mini",
        "New chat",
        "中文",
        "Conversation",
        "Enlarge shapes.png",
        "Edit",
        "Copy",
        "Your question",
    ]
    places = [names.index(name) for name in wanted]
    assert places == sorted(places)
    assert all(seen for name, seen in reached[places[0] : places[-1] + 1]), reached


def looks(tab: Any, one: str) -> bytes:
    """How something looks that nobody points at or stands on."""
    tab.mouse.move(5, 5)
    tab.evaluate("document.activeElement.blur()")
    return bytes(tab.locator(one).screenshot())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_placeholders_and_forced_colours_can_be_read(open_tab: Open, scheme: str) -> None:
    tab = open_tab(color_scheme=scheme, locale="en", forced_colors="none")
    assert tab.evaluate(FAINT) == []
    forced = open_tab(color_scheme=scheme, locale="en", forced_colors="active")
    forced.wait_for_function(f"() => ({NO_ICON})().length === 0")
    ask(forced, BOXED, [SHAPES])
    for choice in (".bot-row .phrase", ".bot-row .raw"):
        forced.wait_for_selector(choice)
        before = looks(forced, choice)
        forced.click(choice)
        assert looks(forced, choice) != before, f"{choice} looks the same once it is chosen"
