"""Pictures large: zoom, the others, a part to ask about; and their numbers and order in the box."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser.test_page import LEFT, RIGHT, SHAPES, ask, attach, figures, until
from tests.media.made import corners
from tests.ui.serving import Served

Open = Callable[..., Any]
OPEN = "dialog.viewer[open]"
PICTURE = f"{OPEN} .stage"
# of a picture's corners: top left, top right, bottom left, bottom right
COLOURS = """(at) => {
  const image = document.querySelector(at), [w, h] = [image.naturalWidth, image.naturalHeight];
  const pen = Object.assign(document.createElement("canvas"), { width: w, height: h }).getContext("2d");
  pen.drawImage(image, 0, 0);
  const corners = [[1, 1], [w - 2, 1], [1, h - 2], [w - 2, h - 2]];
  return corners.map(([x, y]) => [...pen.getImageData(x, y, 1, 1).data].slice(0, 3));
}"""


def opened(tab: Any, picture: str) -> None:
    tab.click(picture)
    tab.wait_for_function("() => document.querySelector('dialog.viewer p')?.textContent.includes('pixels')")


def wide(tab: Any) -> float:
    return float(tab.locator(PICTURE).bounding_box()["width"])


def title(tab: Any) -> str:
    return " ".join(tab.inner_text(f"{OPEN} .over").split())


def test_pictures_open_large_zoom_and_follow_each_other(tab: Any) -> None:
    ask(tab, "look", [SHAPES])
    ask(tab, "Which? <ref>cup</ref><box>(0.1,0.2),(0.5,0.6)</box> in image 2", [LEFT, RIGHT])
    opened(tab, ".user-row .picture >> nth=1")
    assert title(tab) == "Image 1: left.png 256 × 256 pixels · 2 of 3"
    assert tab.evaluate("document.activeElement.closest('dialog') !== null")
    tab.keyboard.press("ArrowRight")
    until(tab, lambda: title(tab) == "Image 2: right.png 256 × 256 pixels · 3 of 3")
    assert tab.locator(f"{OPEN} .mark").count() == 1
    tab.click(f"{OPEN} .marks-shown")
    assert tab.locator(f"{OPEN} .mark").count() == 0
    tab.keyboard.press("ArrowRight")  # there is no further one
    tab.keyboard.press("Home")
    until(tab, lambda: title(tab) == "shapes.png 256 × 256 pixels · 1 of 3")
    whole = wide(tab)
    tab.keyboard.press("+")
    assert wide(tab) > 1.4 * whole
    tab.keyboard.press("0")
    assert wide(tab) == whole
    middle = tab.locator(PICTURE).bounding_box()
    x, y = middle["x"] + middle["width"] * 0.25, middle["y"] + middle["height"] * 0.25
    tab.mouse.dblclick(x, y)
    assert wide(tab) > 2.4 * whole
    tab.keyboard.press("-")
    tab.mouse.dblclick(x, y)
    assert wide(tab) == whole
    tab.mouse.move(x, y)
    tab.mouse.wheel(0, -700)
    until(tab, lambda: wide(tab) > 4 * whole)
    before = tab.locator(PICTURE).bounding_box()
    assert abs((x - before["x"]) / before["width"] - 0.25) < 0.02  # what was pointed at stays there
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x - 40, y - 30, steps=3)
    tab.mouse.up()
    after = tab.locator(PICTURE).bounding_box()
    assert (round(after["x"] - before["x"]), round(after["y"] - before["y"])) == (-40, -30)
    tab.mouse.wheel(0, 2000)
    until(tab, lambda: wide(tab) == whole)
    for _ in range(14):  # Tab stays within
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    with tab.expect_download() as found:
        tab.click(f"{OPEN} .download")
    assert Path(found.value.path()).read_bytes() == SHAPES.read_bytes()
    tab.keyboard.press("Escape")
    tab.wait_for_selector("dialog.viewer", state="detached")
    assert tab.evaluate("document.activeElement.matches('.picture')")


def test_fingers_zoom_and_turn_the_pages(open_tab: Open) -> None:
    tab = open_tab(viewport={"width": 390, "height": 780}, has_touch=True, color_scheme="dark")
    ask(tab, "Which?", [LEFT, RIGHT])
    opened(tab, ".user-row .picture >> nth=0")
    whole = wide(tab)
    touch = tab.context.new_cdp_session(tab)

    def fingers(kind: str, *points: tuple[float, float]) -> None:
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})

    fingers("touchStart", (300, 400))
    fingers("touchMove", (200, 402))
    fingers("touchEnd")
    until(tab, lambda: "right.png" in title(tab) and "2 of 2" in title(tab))
    fingers("touchStart", (180, 400), (220, 400))
    for spread in (30, 60, 90):
        fingers("touchMove", (180 - spread, 400), (220 + spread, 400))
    fingers("touchEnd")
    until(tab, lambda: wide(tab) > 3 * whole)
    small = tab.evaluate(
        """(at) => [...document.querySelectorAll(at)].filter((e) => e.offsetParent && (e.offsetHeight < 44
           || e.offsetWidth < 44 || e.getBoundingClientRect().right > innerWidth)).map((e) => e.className)""",
        f"{OPEN} button",
    )
    assert small == []


def test_a_part_is_asked_about_as_a_picture_of_its_own(tab: Any, server: Served, tmp_path: Path) -> None:
    corners(200, 100).save(tmp_path / "four.png")
    ask(tab, "look", [tmp_path / "four.png"])
    opened(tab, ".user-row .picture")
    tab.click(f"{OPEN} .select-part")
    tab.wait_for_timeout(50)
    box = tab.locator(PICTURE).bounding_box()
    at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: E731
    tab.mouse.move(*at(0.9, 0.9))
    tab.mouse.down()
    tab.mouse.move(*at(0.6, 0.5), steps=4)
    tab.mouse.move(*at(0.1, 0.1), steps=4)
    tab.mouse.up()
    tab.keyboard.press("Shift+ArrowLeft")  # 2 % smaller
    assert "156 × 80 pixels, from 20, 10" in tab.get_attribute(f"{OPEN} .region", "aria-label")
    tab.click(f"{OPEN} .ask-part")
    tab.wait_for_selector("dialog.viewer", state="detached")
    tab.wait_for_function("() => document.querySelector('#box .thumbnail-item img')?.naturalWidth === 156")
    assert tab.evaluate("document.activeElement.matches('#box textarea')")
    tab.keyboard.type("And here?")
    tab.keyboard.press("Enter")
    figures(tab, 2)
    (sent,) = server.backend.requests[-1].conversation.messages[-1].media
    assert sent.label == "four (part).png"
    assert tab.evaluate(COLOURS, ".user-row:nth-of-type(3) img") == [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [255, 255, 255],
    ]


def test_a_box_is_written_into_the_question(tab: Any, server: Served) -> None:
    attach(tab, [LEFT, RIGHT])
    tab.fill("#box textarea", "What is")
    opened(tab, "#box .opens >> nth=1")
    assert title(tab) == "Image 2: right.png 256 × 256 pixels · 2 of 2"
    tab.click(f"{OPEN} .select-part")
    for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown"):
        tab.keyboard.press(key)
    tab.click(f"{OPEN} .write-part")
    written = "What is Image 2 <box>(0.230,0.230),(0.750,0.750)</box>"
    tab.wait_for_function("text => document.querySelector('#box textarea').value === text", arg=written)
    opened(tab, "#box .opens >> nth=1")
    tab.click(f"{OPEN} .select-part")
    tab.keyboard.press("Escape")  # leaves the selection, then the picture
    assert tab.locator(f"{OPEN} .region").count() == 0
    tab.keyboard.press("Escape")
    tab.wait_for_selector("dialog.viewer", state="detached")


def test_pictures_are_numbered_and_their_order_is_changed_by_keys_and_by_dragging(tab: Any, server: Served) -> None:
    attach(tab, [LEFT, RIGHT, SHAPES])

    def names() -> list[str]:
        return [one.get_attribute("aria-label") for one in tab.locator("#box .opens").all()]

    assert names() == ["Enlarge Image 1: left.png", "Enlarge Image 2: right.png", "Enlarge Image 3: shapes.png"]
    tab.focus("#box .opens >> nth=2")
    tab.keyboard.press("Alt+ArrowLeft")
    assert [one.rpartition(" ")[2] for one in names()] == ["left.png", "shapes.png", "right.png"]
    assert tab.evaluate("document.activeElement.ariaLabel") == "Enlarge Image 2: shapes.png"
    first, last = (tab.locator(f"#box .opens >> nth={i}").bounding_box() for i in (0, 2))
    tab.mouse.move(first["x"] + 30, first["y"] + 30)
    tab.mouse.down()
    tab.mouse.move(last["x"] + 50, last["y"] + 30, steps=5)
    tab.mouse.up()
    assert [one.rpartition(" ")[2] for one in names()] == ["shapes.png", "right.png", "left.png"]
    assert tab.locator("dialog.viewer").count() == 0  # it was moved, not pressed
    tab.fill("#box textarea", "look")
    tab.press("#box textarea", "Enter")
    figures(tab, 1)
    assert [one.label for one in server.backend.requests[-1].conversation.messages[-1].media] == [
        "shapes.png", "right.png", "left.png",
    ]  # fmt: skip
    assert tab.locator(".user-row .number").all_inner_texts() == ["Image 1", "Image 2", "Image 3"]
