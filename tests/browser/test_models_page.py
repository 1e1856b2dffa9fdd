"""Another model, chosen in a real browser: what there is to choose, how it comes along, and what changes with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ovis_app import zoo
from ovis_app.zoo import ModelSpec
from tests.ui.serving import HeldBackend, Served, served
from tests.waiting import PATIENCE, until


@pytest.fixture(scope="module")
def changing() -> Iterator[Served]:
    with served(HeldBackend()) as here:
        yield here


@pytest.fixture
def own_server(changing: Served) -> Served:
    """Where nobody has chosen a model yet, whatever the last test did."""
    backend = changing.backend
    backend.cancel_change()
    until(lambda: backend.coming is None)
    backend.model, backend.quantize, backend.problem, backend.fetching = zoo.MINI, "none", "", 1.0
    return changing


@pytest.fixture
def page(usual: Any, own_server: Served) -> Iterator[Any]:
    tab = opened(usual, own_server)
    yield tab
    tab.close()


def opened(context: Any, server: Served) -> Any:
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE * 1000)
    tab.goto(server.url)
    tab.wait_for_selector("#box textarea")
    return tab


def choose(page: Any, name: str) -> None:
    page.click("#model")
    page.wait_for_function("document.querySelectorAll('#model-list label').length > 5")
    page.click(f"#model-list label:has-text('{name}')")
    page.click("#use-model")


def test_the_list_says_what_fits_and_can_be_searched(page: Any) -> None:
    page.click("#model")
    page.wait_for_selector("#models h2")
    rows = page.locator("#model-list label")
    page.wait_for_function("document.querySelectorAll('#model-list label').length > 5")
    assert rows.filter(has_text="Ovis-mini").count() == 0  # it answers now
    page.wait_for_selector("#model-list label:has-text('Ovis2.5-2B'):has-text('5.1 GB · fits')")
    page.wait_for_selector("#model-list label:has-text('Ovis2-34B'):has-text('too big')")
    page.click("#model-wish label:has-text('Small')")
    page.wait_for_function("document.querySelector('#model-list label').innerText.startsWith('OvisOCR2')")
    page.click("#model-wish label:has-text('All')")
    page.fill("#model-search", "thinking fits")
    page.wait_for_function("document.querySelectorAll('#model-list label').length == 1")
    assert "Ovis2.5-2B" in rows.inner_text()
    page.fill("#model-search", "")
    page.wait_for_function("document.querySelectorAll('#model-list label').length > 5")
    page.fill("#card-memory", "1 GB")
    page.wait_for_selector("#model-fitting :text('On a card of 1 GB no full-size model fits.')")


def test_bits_are_chosen_for_the_model_that_answers_and_for_another(page: Any, own_server: Served) -> None:
    own_server.backend.fetching = 0.2
    page.click("#model")
    page.wait_for_selector("#model-ways legend:has-text('Weights of Ovis-mini; 24.0 GB are free')")
    assert page.is_checked("#model-ways [value=none]") and not page.is_visible("#use-model")
    page.focus("#model-ways [value=none]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.is_checked("#model-ways [value=int4]")
    page.click("#use-model")
    page.wait_for_function("() => !document.querySelector('#use-model').checkVisibility()")
    until(lambda: own_server.backend.quantize == "int4")
    page.wait_for_selector("#model-progress .bar", state="detached")
    assert page.is_checked("#model-ways [value=int4]") and not page.is_visible("#use-model")
    page.click("#model-list label:has-text('Ovis2.5-9B')")
    page.wait_for_selector("#model-ways legend:has-text('Weights of Ovis2.5-9B')")
    page.wait_for_selector("#model-ways label:has-text('As released'):has-text('tight (needs 18.3 GB)')")
    page.click("#model-ways label:has-text('8 bits'):has-text('fits (needs 11.0 GB)')")
    page.click("#use-model")
    until(lambda: (own_server.backend.model.name, own_server.backend.quantize) == ("Ovis2.5-9B", "int8"))
    page.wait_for_selector("#model:has-text('Ovis2.5-9B')")


def test_what_somebody_chooses_stays_while_others_change_the_model(page: Any, own_server: Served) -> None:
    """Drawn anew under whoever chooses, another row than theirs could be the chosen one."""
    page.click("#model")
    page.click("#model-list label:has-text('Ovis2.5-2B')")
    page.fill("#model-search", "thinking")
    page.fill("#own-model", "my/own")
    page.focus("#model-search")
    own_server.backend.fetching = 0.1
    own_server.backend.change("Ovis2.5-9B")
    until(lambda: own_server.backend.model.name == "Ovis2.5-9B")
    page.evaluate("window.ovis.put('changed', true)")  # it is time to look
    page.wait_for_selector("#model-card:has-text('Ovis2.5-9B')")
    page.wait_for_selector("#model-list label:has-text('Ovis2.5-9B')", state="detached")
    assert page.is_checked("#model-list label:has-text('Ovis2.5-2B') input") and page.is_visible("#use-model")
    assert (page.input_value("#model-search"), page.input_value("#own-model")) == ("thinking", "my/own")
    assert page.evaluate("document.activeElement.id") == "model-search"
    page.fill("#model-search", "boxes thinking nothing")  # what nobody sees isn't used
    page.wait_for_selector("#use-model", state="hidden")


def test_a_change_shows_its_progress_and_the_controls_follow_in_every_tab(
    page: Any, usual: Any, own_server: Served
) -> None:
    assert page.is_visible("#switch-thinking")
    own_server.backend.fetching = 4.0
    choose(page, "Ovis1.6-Gemma2-9B")
    page.wait_for_selector("#model-progress .bar i")
    page.wait_for_selector("#model-progress p:has-text('of 20.4 GB')")
    page.wait_for_selector("#model:has-text('Ovis1.6-Gemma2-9B')")
    page.wait_for_selector("#switch-thinking", state="hidden")
    page.wait_for_selector("#model-progress .bar", state="hidden")
    assert "a picture" in page.get_attribute("#box textarea", "placeholder")
    assert page.locator("#conversation .example").count() == 2  # describe and read: one picture, nothing else
    page.click("#close-models")
    page.click("#settings")
    page.wait_for_selector("#knob-max_partition")
    assert not page.is_visible("#knob-frames")
    other = opened(usual, own_server)
    other.wait_for_selector("#model:has-text('Ovis1.6-Gemma2-9B')")
    other.close()


def test_a_change_can_be_cancelled(page: Any, own_server: Served) -> None:
    own_server.backend.fetching = 30.0
    choose(page, "Ovis2-1B")
    page.wait_for_selector("#model-progress .bar")
    page.click("#cancel-change")
    page.wait_for_selector("#model-progress .bar", state="hidden")
    assert page.inner_text("#model").strip() == "Ovis-mini" and own_server.backend.status().change is None


def test_what_does_not_fit_or_is_not_there_is_said_and_the_page_answers_on(page: Any) -> None:
    choose(page, "Ovis2-34B")
    page.wait_for_selector("#model-refusal .problem:has-text('needs more')")
    page.fill("#own-model", "nobody/nothing")
    page.click("#use-own")
    page.wait_for_selector("#model-progress .problem:has-text('check the spelling')")
    page.click("#close-models")
    page.fill("#box textarea", "still there?")
    page.press("#box textarea", "Enter")
    page.wait_for_selector("#conversation :text('You said: still there?')")


def test_one_sentence_at_a_time_says_why_not(page: Any) -> None:
    page.click("#model")
    for name, why in (("nobody/nothing", "check the spelling"), ("Ovis2-34B", "needs more"), ("ovis-mini", "already")):
        page.fill("#own-model", name)
        page.click("#use-own")
        page.wait_for_selector(f"#models .problem:has-text('{why}')")
        assert page.locator("#models .problem").count() == 1


def test_a_change_that_fails_behind_a_closed_panel_is_told_once_to_whoever_asked(usual: Any) -> None:
    closed = threading.Event()

    class Slow(HeldBackend):
        def _fetch(self, spec: ModelSpec, quantize: str) -> None:
            closed.wait(PATIENCE)
            super()._fetch(spec, quantize)

    with served(Slow(fetching=0.1)) as server:
        page, other = opened(usual, server), opened(usual, server)
        page.click("#model")
        page.fill("#own-model", "nobody/nothing")
        page.click("#use-own")
        page.wait_for_selector("#models :text('Looking for')")
        other.reload()
        other.wait_for_selector("#status .busy")
        page.keyboard.press("Escape")
        page.wait_for_timeout(1000)  # the server has heard of it
        closed.set()
        _shows_until_it_is_read(page)
        _shows_the_model_that_answers(other)
        page.close(), other.close()


def _shows_the_model_that_answers(other: Any) -> None:
    """Who didn't ask for the change hears nothing of it."""
    other.wait_for_selector("#status .calm:has-text('ready')")
    other.click("#model")
    other.wait_for_selector("#models #use-own")
    assert other.locator("#models .problem, #status .failed").count() == 0


def _shows_until_it_is_read(page: Any) -> None:
    page.wait_for_selector("#status .failed:has-text('the new model')")
    page.click("#model")
    page.wait_for_selector("#status .calm:has-text('ready')")
    page.wait_for_selector("#models .problem:has-text('check the spelling')")


def test_escape_closes_the_panel_and_focus_returns(page: Any) -> None:
    page.click("#model")
    page.wait_for_selector("#models-open, .models-open")
    page.wait_for_function("document.activeElement.id === 'close-models'")
    page.keyboard.press("Escape")
    page.wait_for_function("!document.body.classList.contains('models-open')")
    assert page.evaluate("document.activeElement.id") == "model"


def test_whoever_comes_through_a_proxy_sees_no_choice(browser: Any, usual: Any, own_server: Served) -> None:
    with browser.new_context(extra_http_headers={"X-Real-IP": "203.0.113.5"}) as context:
        page = opened(context, own_server)
        page.click("#model")
        page.wait_for_selector("#model-card")
        page.wait_for_timeout(500)
        assert not page.is_visible("#model-choice") and not page.is_visible("#use-own")
    own = opened(usual, own_server)
    own.click("#model")
    own.wait_for_selector("#use-own")
    own.close()
