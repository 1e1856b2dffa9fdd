"""What comes into the box from elsewhere than a folder: the camera's pictures, and files from addresses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from ovis_app.media.fetch import receive
from ovis_app.ui import fetching
from tests.browser.tabs import tabs_on
from tests.browser.test_attachments import SMALL
from tests.browser.test_page import ask, conversation, figures, until
from tests.media.test_fetch import OK, anywhere, saying
from tests.ui.serving import EXAMPLES, HeldBackend, Served, served

Open = Callable[..., Any]
CAMERA = "dialog.camera"
DESK = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "color_scheme": "dark"}
ENDED = "() => window.tracks.length > 0 && window.tracks.every((one) => one.readyState === 'ended')"
COLOURS = """async (image) => {
  await image.decode();
  const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 64 });
  const pen = canvas.getContext('2d');
  pen.drawImage(image, 0, 0, 64, 64);
  return new Set(Array.from(new Uint32Array(pen.getImageData(0, 0, 64, 64).data.buffer))).size; }"""
WATCH = """() => { window.tracks = []; const asked = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wants) => { const stream = await asked(wants);
    window.wants = JSON.stringify(wants);
    window.tracks.push(...stream.getTracks()); return stream; }; }"""
HIDE = """() => { Object.defineProperty(document, 'hidden', { value: true, configurable: true });
  document.dispatchEvent(new Event('visibilitychange')); }"""


def choose(tab: Any, what: str) -> None:
    tab.click("#box .upload-button")
    tab.click(f".ovis-menu .{what}")


def camera(tab: Any) -> None:
    choose(tab, "camera")
    tab.wait_for_selector(f"{CAMERA} .primary:not(:disabled)")


def line(tab: Any, words: str) -> None:
    tab.wait_for_selector(f"{CAMERA} .camera-line:has-text('{words}')")


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desktop", "phone"])
def test_the_cameras_picture_is_attached_and_its_light_goes_out(
    open_tab: Open, server: Served, size: dict[str, Any]
) -> None:
    tab = open_tab(**size)
    tab.evaluate(WATCH)
    camera(tab)
    assert "environment" in tab.evaluate("window.wants")
    if size is PHONE:
        assert tab.evaluate(SMALL, f"{CAMERA} :is(button, input, select)") == []
    names = tab.locator(f"{CAMERA} > form > select option").all_inner_texts()
    assert len(names) == 2
    tab.select_option(f"{CAMERA} > form > select", label=names[1])
    tab.wait_for_function("() => window.tracks.length === 2 && window.tracks[0].readyState === 'ended'")
    tab.click(f"{CAMERA} .primary:not(:disabled)")
    tab.wait_for_selector("#box .thumbnail-item .opens img")
    assert tab.locator(CAMERA).count() == 0
    tab.wait_for_function(ENDED)
    assert tab.locator("#box .opens img").evaluate(COLOURS) > 2
    ask(tab, "what is it?")
    assert server.backend.requests[-1].conversation.messages[-1].media[0].label == "camera.jpg"
    camera(tab)
    tab.keyboard.press("Escape")
    tab.wait_for_function(ENDED)
    assert tab.evaluate("document.activeElement.matches('#box .upload-button')")


def test_a_question_is_asked_again_and_again_as_versions_until_stopped(open_tab: Open, server: Served) -> None:
    tab = open_tab(**DESK)
    tab.evaluate(WATCH)
    ask(tab, "before")
    camera(tab)
    tab.fill(f"{CAMERA} input", "what is it now?")
    tab.select_option(f"{CAMERA} .camera-row select", "2")
    before = len(server.backend.requests)
    tab.press(f"{CAMERA} input", "Enter")
    tab.wait_for_function(
        f"() => parseInt(document.querySelector('{CAMERA} .camera-line').textContent.match(/[0-9]+/)) > 2"
    )
    assert "what is it now?" in tab.inner_text(f"{CAMERA} .camera-answer")
    tab.click(f"{CAMERA} .keep-asking")
    until(tab, lambda: server.backend.live == 0)
    assert tab.inner_text(f"{CAMERA} .keep-asking") == "Keep asking"
    asked = server.backend.requests[before:]
    seen = {one.conversation.messages[-1].media[0].path.name for one in asked}
    count = len(asked)  # the fourth may have been on its way
    assert 3 <= count == len(seen) and all(len(one.conversation.messages) == 3 for one in asked)
    tab.fill(f"{CAMERA} input", "held")
    tab.click(f"{CAMERA} .keep-asking")
    until(tab, lambda: server.backend.live == 1)
    tab.evaluate(HIDE)
    line(tab, "nobody looked")
    until(tab, lambda: server.backend.live == 0)
    tab.evaluate("delete document.hidden")
    tab.click(f"{CAMERA} .buttons button >> nth=1")
    tab.wait_for_function(ENDED)
    tab.wait_for_selector("#conversation .user-row:has-text('held')")
    assert tab.locator("#conversation .user-row").count() == 3
    tab.wait_for_selector("#conversation .bot-row:has-text('stopped')")  # until then versions stay as they are
    tab.locator("#conversation .user-row").nth(1).locator(".back").click()
    tab.wait_for_selector(f"#conversation .user-row .versions:has-text('{count - 1}/{count}')")
    assert "held" not in conversation(tab)
    tab.reload()
    tab.wait_for_selector(f"#conversation .user-row .versions:has-text('{count - 1}/{count}')")
    figures(tab, 2)


REFUSES = "(why) => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', why)); }"


def test_a_camera_that_isnt_there_or_allowed_is_one_sentence(tab: Any) -> None:
    tab.evaluate(REFUSES, "NotAllowedError")
    choose(tab, "camera")
    line(tab, "address bar, then try again")
    assert tab.is_disabled(f"{CAMERA} .primary") and tab.is_disabled(f"{CAMERA} .keep-asking")
    tab.evaluate(REFUSES, "NotFoundError")
    tab.click(f"{CAMERA} .camera-again")
    line(tab, "There is no camera here")
    tab.keyboard.press("Escape")
    tab.evaluate("""() => { for (const [of, name, value] of [[navigator, 'mediaDevices', undefined],
      [window, 'isSecureContext', false]]) Object.defineProperty(of, name, { value }); }""")
    choose(tab, "camera")
    line(tab, "only at an address with https://, or at localhost")
    assert tab.is_hidden(f"{CAMERA} .camera-again")


PASTE = """(text) => { const data = new DataTransfer(); data.setData('text/plain', text);
  const event = new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true });
  const box = document.querySelector('#box textarea');
  box.focus();
  if (box.dispatchEvent(event)) document.execCommand('insertText', false, text); }"""


def test_a_file_is_attached_from_its_address(
    request: pytest.FixtureRequest, usual: Any, tab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "receive", functools.partial(receive, allowed=anywhere))
    first, second = ((EXAMPLES / name).read_bytes() for name in ("shapes.png", "counting.png"))
    with (
        served(HeldBackend(), allow_urls=True) as here,
        tabs_on(here.url, request, lambda **_: usual) as opened,
        saying(OK % (len(first), first), OK % (len(second), second), OK % (9, b"<p>no</p>")) as there,
    ):
        near = opened()
        choose(near, "from-address")
        near.fill(".ovis-dialog input", "example.org")
        near.keyboard.press("Enter")
        assert near.is_visible(".ovis-dialog input")  # it is no address yet
        near.fill(".ovis-dialog input", f"{there}/shapes.png?large")
        near.keyboard.press("Enter")
        near.wait_for_selector("#box .thumbnail-item .opens img[alt='shapes.png']")
        near.fill("#box textarea", "What is")
        near.evaluate(PASTE, f" {there}/other.png")
        near.click(".ovis-toast button:has-text('Attach it')")
        near.wait_for_selector("#box .opens img[alt='Image 2: other.png']")
        assert near.input_value("#box textarea") == "What is"
        near.reload()
        near.wait_for_function("document.querySelectorAll('#box .opens img').length === 2")
        ask(near, "what?")
        media = here.backend.requests[-1].conversation.messages[-1].media
        assert [one.label for one in media] == ["shapes.png", "other.png"]
        choose(near, "from-address")
        near.fill(".ovis-dialog input", f"{there}/page")
        near.keyboard.press("Enter")
        near.wait_for_selector("#notice:has-text('“page” holds text, not a picture or a clip')")
        assert near.locator("#box .thumbnail-item").count() == 0
    tab.evaluate(PASTE, "https://example.org/a.png")  # where nothing is fetched
    tab.wait_for_selector("#notice:has-text('Addresses aren\\'t fetched here: download the file and attach it.')")
    assert tab.input_value("#box textarea") == "https://example.org/a.png"
    tab.click("#box .upload-button")
    tab.wait_for_selector(".ovis-menu .camera")
    assert tab.locator(".ovis-menu .from-address").count() == 0
