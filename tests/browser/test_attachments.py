"""What of a file goes along: moments of a clip, pages of a document, each chosen by the file in the box."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ovis_app import zoo
from ovis_app.conversation import Excerpt
from tests.browser.tabs import tabs_on
from tests.browser.test_accessible import violations
from tests.browser.test_page import ask, attach, do, figures, until
from tests.media.made import clip, numbered
from tests.media.made_pdf import pdf, quarters
from tests.ui.serving import HeldBackend, Served, served

Open = Callable[..., Any]
PANEL = ".ovis-panel"
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "color_scheme": "dark"}
SMALL = """(at) => [...document.querySelectorAll(at)].filter((e) => e.checkVisibility() && (e.offsetHeight < 44
  || e.getBoundingClientRect().right > innerWidth)).map((e) => e.className)"""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds at ten frames a second."""
    return clip(tmp_path_factory.mktemp("clips") / "film.mp4", map(numbered, range(36)), rate=9)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents") / "report.pdf"
    path.write_bytes(pdf([quarters(300 + 10 * n) for n in range(14)]))
    return path


def moments(tab: Any, count: int) -> None:
    tab.wait_for_function(
        "n => { const strip = document.querySelector('.ovis-panel .strip');"
        "return strip && !strip.ariaBusy && strip.querySelectorAll('img').length === n; }",
        arg=count,
    )


def enter(tab: Any, label: str, value: str) -> None:
    field = tab.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Tab")


def line(tab: Any) -> str:
    return str(tab.inner_text(f"{PANEL} .panel-line"))


def test_moments_of_a_clip_are_seen_chosen_sent_and_kept(tab: Any, server: Served, film: Path) -> None:
    attach(tab, [film])
    tab.click("#box .clip .opens")
    moments(tab, 8)
    assert line(tab) == "8 of 8 moments go along; the clip is 4 s long."
    enter(tab, "From second", "1")
    enter(tab, "To second", "3")
    enter(tab, "How many", "4")
    moments(tab, 4)
    tab.locator(f"{PANEL} .moment").nth(1).click()
    until(tab, lambda: line(tab).startswith("3 of 4"))
    tab.keyboard.press("Escape")
    tab.wait_for_selector(PANEL, state="detached")
    assert tab.inner_text("#box .chosen") == "4 frames · 1–3 s · without 1 frame"
    tab.wait_for_function("() => document.activeElement.matches('#box .clip .opens')")
    tab.reload()
    tab.wait_for_selector("#box .chosen")
    ask(tab, "what happens?")
    asked = server.backend.requests[-1].conversation.messages[-1].media[0].detail
    assert asked.frames == 4 and asked.excerpt is not None
    assert (asked.excerpt.start, asked.excerpt.end, len(asked.excerpt.dropped)) == (1.0, 3.0, 1)
    assert tab.inner_text("#conversation .clip .chosen") == "4 frames · 1–3 s · without 1 frame"
    do(tab, ".user-row .edit")
    tab.click("#box .clip .opens")
    moments(tab, 4)
    assert line(tab).startswith("3 of 4")
    tab.select_option(f"{PANEL} select", "fps")
    until(tab, lambda: tab.input_value(f"{PANEL} input >> nth=0") == "2")  # four in two seconds
    enter(tab, "To second", "2")
    moments(tab, 2)
    tab.fill("#box textarea", "again")
    tab.press("#box textarea", "Enter")
    figures(tab, 1)
    until(tab, lambda: server.backend.requests[-1].conversation.messages[-1].text == "again")
    asked = server.backend.requests[-1].conversation.messages[-1].media[0].detail
    assert (asked.frames, asked.excerpt) == (2, Excerpt(1.0, 2.0))


def test_each_of_several_clips_has_its_own_number_and_moments(
    context_of: Open, request: pytest.FixtureRequest, tab: Any, film: Path, tmp_path: Path
) -> None:
    other = clip(tmp_path / "other.mp4", map(numbered, range(20)))
    chips = "#box .thumbnail-item"
    tab.set_input_files("#box input[type=file]", [str(film), str(other)])
    tab.wait_for_selector("text=“other.mp4” stays behind: Ovis-mini watches one clip a question.")
    assert tab.locator(chips).count() == 1
    with (
        served(HeldBackend(model=zoo.resolve("Ovis2.5-9B"))) as server,
        tabs_on(server.url, request, context_of) as opened,
    ):
        tab = opened(**PHONE)
        attach(tab, [film, other])
        tab.wait_for_selector("text=Ovis2.5-9B learnt with one clip a question: of several it may mistake one")
        tab.click(f"{chips} .opens >> nth=1")
        moments(tab, 8)
        enter(tab, "How many", "3")
        moments(tab, 3)
        tab.keyboard.press("Escape")
        tab.wait_for_selector(PANEL, state="detached")
        tab.locator(f"{chips} .opens").nth(1).press("Alt+ArrowLeft")
        assert [one.inner_text() for one in tab.query_selector_all(f"{chips} .chosen")] == ["3 frames"]
        assert tab.evaluate(SMALL, f"{chips} :is(.opens, .delete-button)") == []
        ask(tab, "which comes first?")
        sent = server.backend.requests[-1].conversation.messages[-1].media
        assert [(one.kind, one.label, one.detail.frames) for one in sent] == [
            ("video", "other.mp4", 3), ("video", "film.mp4", 8)
        ]  # fmt: skip
        assert [one.inner_text() for one in tab.query_selector_all("#conversation .clip .number")] == [
            "Clip 1",
            "Clip 2",
        ]
        do(tab, ".user-row .edit")
        tab.wait_for_function("() => document.querySelectorAll('#box .thumbnail-item').length === 2")
        assert "3 frames" in tab.inner_text(f"{chips} >> nth=0")


@pytest.mark.parametrize("size", [{"viewport": {"width": 1280, "height": 800}}, PHONE], ids=["desktop", "phone"])
def test_pages_of_a_document_are_chosen_by_range_or_by_pressing_them(
    open_tab: Open, server: Served, report: Path, size: dict[str, Any]
) -> None:
    tab = open_tab(**size)
    tab.set_input_files("#box input[type=file]", str(report))
    tab.wait_for_function("() => document.querySelectorAll('#box .thumbnail-item').length === 14")
    tab.click("#box .opens >> nth=2")
    moments(tab, 12)
    assert line(tab) == "14 of 14 pages" and tab.is_disabled(f"{PANEL} .primary")
    range_ = f"{PANEL} input"
    tab.fill(range_, "3-20")
    assert "has 14 pages" in line(tab) and tab.is_disabled(f"{PANEL} .primary")
    tab.fill(range_, "2-3,9")
    pressed = f"{PANEL} .moment[aria-pressed=true]"
    assert [one.get_attribute("data-page") for one in tab.query_selector_all(pressed)] == ["2", "3", "9"]
    tab.click(f"{PANEL} .moment[data-page='3']")
    assert tab.input_value(range_) == "2,9"
    tab.select_option(f"{PANEL} select", "72")
    if size is PHONE:
        assert tab.evaluate(SMALL, f"{PANEL} :is(button, input, select)") == []
    tab.click(f"{PANEL} .primary")
    tab.wait_for_selector(PANEL, state="detached")
    tab.wait_for_function("() => document.querySelectorAll('#box .thumbnail-item').length === 2")
    ask(tab, "read it")
    media = server.backend.requests[-1].conversation.messages[-1].media
    assert [one.label for one in media] == ["report.pdf page 2", "report.pdf page 9"]
    do(tab, ".user-row .edit")
    tab.click("#box .opens >> nth=0")
    moments(tab, 12)
    assert tab.input_value(range_) == "2,9" and tab.input_value(f"{PANEL} select") == "72"
    tab.keyboard.press("Escape")
    tab.fill("#box textarea", "what about page 9, and page 5?")
    tab.press("#box textarea", "Enter")
    named = "() => [...document.querySelectorAll('.jump')].map((one) => one.innerText).join()"
    tab.wait_for_function(f"({named})() === 'page 9,page 2,page 9'")  # the echo ends with the names of the files
    tab.click(".jump >> nth=0")
    tab.wait_for_selector("dialog.viewer[open] h2:has-text('report.pdf page 9')")


def test_a_moment_that_an_answer_names_is_where_the_player_goes(tab: Any, film: Path) -> None:
    ask(tab, "It turns at 2.5 seconds, not at `1 s`; at 90 s it ends. 第3.2秒", [film])
    tab.wait_for_function(
        "() => document.querySelectorAll('.bot-row .jump').length === 2"
    )  # the clip has no 90th second
    assert tab.locator(".jump").all_inner_texts() == ["2.5 seconds", "3.2秒"]
    now = "document.querySelector('#conversation video').currentTime"
    tab.click(".jump >> nth=0")
    tab.wait_for_function(f"() => Math.abs({now} - 2.5) < 0.01")
    tab.click(".bot-row .raw")
    tab.click(".bot-row .raw")
    tab.click(".jump >> nth=1")
    tab.wait_for_function(f"() => Math.abs({now} - 3.2) < 0.01")


PASTE = """(kind) => {
  const data = new DataTransfer();
  if (kind === "text") data.setData("text/plain", "It was a dark night. ".repeat(300));
  else data.items.add(new File([Uint8Array.from(kind)], "cut.mp4", { type: "video/mp4" }));
  const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
  return document.querySelector("#box textarea").dispatchEvent(event);
}"""


def test_ready_system_prompts_are_pressed_changed_and_left(request: pytest.FixtureRequest, usual: Any) -> None:
    spec = zoo.find("Ovis2.5-2B")
    assert spec is not None
    with (
        served(HeldBackend(model=spec)) as server,
        tabs_on(server.url, request, lambda **options: usual) as opened,
    ):
        tab = opened()
        tab.click("#settings")
        tab.click("#presets button:has-text('Brief')")
        tab.wait_for_selector("#presets button[aria-pressed=true]:has-text('Brief')")
        assert tab.input_value("#system textarea") == "Answer in one short sentence."
        assert violations(tab) == []
        tab.click("#close-settings")
        ask(tab, "What is this?")
        assert server.backend.requests[-1].settings.system == "Answer in one short sentence."
        tab.click("#settings")
        tab.click("#presets button:has-text('Brief')")
        tab.wait_for_function("() => document.querySelector('#system textarea').value === ''")


def test_a_long_text_and_a_clip_are_pasted(tab: Any, server: Served, film: Path) -> None:
    assert not tab.evaluate(PASTE, "text")  # it isn't put into the box by the browser
    tab.wait_for_selector("#box .pastes:has-text('6,300 characters')")
    assert tab.input_value("#box textarea") == ""
    ask(tab, "What kind of night?")
    asked = server.backend.requests[-1].conversation.messages[-1].text
    assert asked.startswith("It was a dark night. It") and asked.endswith("\n\nWhat kind of night?")
    assert tab.inner_text(".user-row .pasted") == "Text, 6,300 characters"
    do(tab, ".user-row .edit")
    tab.click("#box .paste-back")
    tab.wait_for_selector("#box .paste", state="detached")
    assert len(tab.input_value("#box textarea")) > 6300
    tab.click("#leave-edit")
    tab.evaluate(PASTE, list(film.read_bytes()))
    tab.wait_for_selector("#box .clip .opens:has-text('cut.mp4')")
