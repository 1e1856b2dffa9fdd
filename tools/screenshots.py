"""Pictures of the page in every state: `make screenshots`, or `python -m tools.screenshots --only viewer --out DIR`.

Each state is a row: what a person does until the page looks so. It is taken at a desk in the light and on a phone in
the dark, or as `--width`, `--dark` and `--language` say; nothing is compared: a person looks. Ovis-mini answers, and a
script where words matter more than the picture. Needs Chromium.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.browser import CHROMIUM, ask, attach, visit
from benchmarks.server import ROOT, app

EXAMPLES = ROOT / "assets" / "examples"
SHAPES, COUNTING = EXAMPLES / "shapes.png", EXAMPLES / "counting.png"
RICH = r"""## What a text can hold
Einstein: $E = mc^2$, and $$\int_0^1 x^2\,dx = \tfrac13$$
| fruit | price |
|---|---|
| apple | $1 |
| pear | $2 |

```python
def area(side: float) -> float:
    return side**2  # of a square
```
- **注意：**请看图
- a < b, and `<title>` stays as it is written"""
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")  # of Chromium, a moving test picture
CHROMIUM_ARGUMENTS = ("--no-sandbox", "--disable-gpu", *CAMERA)
ANSWERED = "#conversation .figures"
THINKS, FINDS = 3, 4  # of the examples, in whatever language they are
TOUR = re.compile(r"\(tour/([a-z-]+)\.png\)")
COLOURS = 128  # of a picture in the documentation: a fifth of the bytes, and hardly seen


@dataclass(frozen=True)
class State:
    """How the page comes to look so. `script` has the scripted backend answer; `flags` start the app otherwise."""

    name: str
    do: Callable[[Any], None]
    script: bool = False
    flags: tuple[str, ...] = ()


STATES: list[State] = []


def state(
    *, script: bool = False, flags: tuple[str, ...] = ()
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Adds a row, of the function's name."""

    def added(do: Callable[[Any], None]) -> Callable[[Any], None]:
        STATES.append(State(do.__name__.replace("_", "-"), do, script, flags))
        return do

    return added


@state()
def empty(tab: Any) -> None:
    tab.wait_for_selector(".example")


@state()
def attached(tab: Any) -> None:
    attach(tab, [SHAPES, COUNTING])
    tab.fill("#box textarea", "Which image has more shapes?")


@state()
def refused(tab: Any) -> None:
    broken = {"name": "holiday.jpg", "mimeType": "image/jpeg", "buffer": b"no picture at all"}
    tab.set_input_files("#box input[type=file]", [broken])
    tab.wait_for_selector("#notice p")


@state()
def answer(tab: Any) -> None:
    ask(tab, "How many shapes are there?", [COUNTING])


@state()
def thought(tab: Any) -> None:
    tab.locator(".example").nth(THINKS).click()
    tab.wait_for_selector(ANSWERED)
    tab.click("#conversation .thought summary, #conversation details summary")


@state()
def boxes(tab: Any) -> None:
    tab.locator(".example").nth(FINDS).click()
    tab.wait_for_selector(ANSWERED)


@state()
def viewer(tab: Any) -> None:
    boxes(tab)
    tab.click("#conversation .picture")
    tab.wait_for_selector("dialog[open]")


@state()
def turn_menu(tab: Any) -> None:
    answer(tab)
    tab.locator("#conversation .bot-row .more").click()
    tab.wait_for_selector(".ovis-menu")


@state(script=True)
def text(tab: Any) -> None:
    ask(tab, RICH, [])
    tab.wait_for_selector(".katex")


@state(script=True)
def answering(tab: Any) -> None:
    tab.fill("#box textarea", "slow, and think")
    tab.press("#box textarea", "Enter")
    tab.wait_for_selector("#conversation :text('word5')")


@state(script=True)
def failed(tab: Any) -> None:
    tab.fill("#box textarea", "fail")
    tab.press("#box textarea", "Enter")
    tab.wait_for_selector("#conversation .problem")


@state(flags=("--model", "/nowhere"))
def not_loaded(tab: Any) -> None:
    tab.wait_for_selector("#load-again")


@state(script=True)
def cut(tab: Any) -> None:
    answering(tab)
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#conversation .go-on")


@state()
def offline(tab: Any) -> None:
    answer(tab)
    tab.context.set_offline(True)
    tab.wait_for_selector(".pill.offline")


@state()
def conversations(tab: Any) -> None:
    for question in ("How many shapes are there?", "Where is the star?"):
        ask(tab, question, [SHAPES])
        tab.click("#new-chat")
        tab.wait_for_selector(".example")
    tab.click("#library")


@state()
def settings(tab: Any) -> None:
    tab.click("#settings")
    tab.wait_for_selector("#knob-temperature")


@state(script=True)
def models(tab: Any) -> None:
    tab.click("#model")
    tab.wait_for_function("document.querySelectorAll('#model-list label').length > 5")


@state(script=True)
def changing_models(tab: Any) -> None:
    models(tab)
    other = "Ovis2-1B" if "Ovis2.5-2B" in tab.inner_text("#model") else "Ovis2.5-2B"
    tab.click(f"#model-list label:has-text('{other}')")
    tab.click("#use-model")
    tab.wait_for_selector("#status .pill.busy")


@state()
def shortcuts(tab: Any) -> None:
    tab.click("#title")
    tab.keyboard.press("?")
    tab.wait_for_selector("dialog[open] kbd")


@state()
def cost(tab: Any) -> None:
    attached(tab)
    tab.click("#cost summary")


@state()
def tasks(tab: Any) -> None:
    attach(tab, [SHAPES])
    tab.wait_for_selector(".task")


@state()
def clip_moments(tab: Any) -> None:
    attach(tab, [EXAMPLES / "clip.mp4"])
    tab.click("#box .clip .opens")
    tab.wait_for_selector(".ovis-panel .strip img")
    tab.wait_for_function("() => !document.querySelector('.ovis-panel .strip').ariaBusy")


TABLE = """id,image,product,colour
1,shapes.png,circle,red
2,counting.png,square,black
3,missing.png,star,yellow
"""


@state()
def many(tab: Any) -> None:
    tab.click(".many-opens")
    table = {"name": "products.csv", "mimeType": "text/csv", "buffer": TABLE.encode()}
    pictures = [{"name": one.name, "mimeType": "image/png", "buffer": one.read_bytes()} for one in (SHAPES, COUNTING)]
    tab.set_input_files(".many-files-chooser", [table, *pictures])
    tab.fill(".many-field textarea", "Is there a {colour} {product}?")
    tab.wait_for_selector(".many .primary:not(:disabled)")


@state()
def many_answered(tab: Any) -> None:
    many(tab)
    tab.click(".many .primary")
    tab.wait_for_function("() => document.querySelectorAll('.many tr.answered').length === 2")


@state()
def compare(tab: Any) -> None:
    attached(tab)
    tab.click(".compare-button")
    tab.wait_for_selector(".ovis-dialog .primary")


@state()
def side_by_side(tab: Any) -> None:
    compare(tab)
    tab.locator(".settings-table input[type=number]").nth(1).fill("1.5")  # its temperature
    tab.click(".ovis-dialog .primary")
    tab.wait_for_function("() => document.querySelectorAll('#conversation .figures').length === 2")


@state()
def sees(tab: Any) -> None:
    answer(tab)
    tab.click("#conversation .picture")
    tab.click(".viewer .sees-shown")
    tab.wait_for_selector(".viewer .seen-panel canvas, .viewer .seen-cover canvas")


@state()
def evidence(tab: Any) -> None:
    ask(tab, "Describe the image.", [SHAPES])
    tab.locator("#conversation .bot-row .more").click()
    tab.click(".ovis-menu .evidence")
    tab.locator(".evidence .claim").first.click()
    tab.wait_for_selector(".evidence dl :nth-child(4)")


@state()
def drawing(tab: Any) -> None:
    attach(tab, [SHAPES])
    tab.click("#box .opens")
    tab.click(".viewer .draw-on")
    tab.keyboard.press("Enter")


@state(script=True)
def workbench(tab: Any) -> None:
    ask(tab, RICH, [SHAPES])
    tab.locator("#conversation .bot-row .more").click()
    tab.click(".ovis-menu .workbench")
    tab.wait_for_selector("dialog.workbench[open] .katex")


@state()
def read_page(tab: Any) -> None:
    attach(tab, [EXAMPLES / "word.png"])
    tab.click("#box .opens")
    tab.click(".viewer .read-page")
    tab.wait_for_selector("dialog.workbench[open] .bench-take .copy:not(:disabled)")


@state(flags=("--allow-urls",))
def attach_menu(tab: Any) -> None:
    tab.click("#box .upload-button")
    tab.wait_for_selector(".ovis-menu .camera")


@state(flags=("--allow-urls",))
def from_address(tab: Any) -> None:
    attach_menu(tab)
    tab.click(".ovis-menu .from-address")
    tab.wait_for_selector(".ovis-dialog input")


@state()
def camera(tab: Any) -> None:
    attach_menu(tab)
    tab.click(".ovis-menu .camera")
    tab.wait_for_selector("dialog.camera .primary:not(:disabled)")


@state()
def keep_asking(tab: Any) -> None:
    camera(tab)
    tab.click("dialog.camera .keep-asking")
    tab.wait_for_selector("dialog.camera .camera-answer[aria-busy=false]:not(:empty)")


@state()
def no_camera(tab: Any) -> None:
    tab.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    attach_menu(tab)
    tab.click(".ovis-menu .camera")
    tab.wait_for_selector("dialog.camera .camera-again:not([hidden])")


@contextmanager
def shown(chromium: Any, url: str, options: dict[str, Any]) -> Iterator[Any]:
    """A tab that never was here before."""
    context = chromium.new_context(reduced_motion="reduce", **options)
    try:
        tab = context.new_page()
        tab.set_default_timeout(60_000)
        visit(tab, url)
        yield tab
    finally:
        context.close()


def looks(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each with what stands behind a state's name."""
    if options.tour:
        yield "", {"viewport": {"width": 1080, "height": 720}, "color_scheme": "light", "locale": options.language}
        return
    both = [(1280, False), (390, True)] if options.width is None else [(options.width, options.dark)]
    for width, dark in both:
        phone, scheme = width < 600, "dark" if dark else "light"
        size = {"width": width, "height": 780 if phone else 860}
        look = {"viewport": size, "color_scheme": scheme, "locale": options.language}
        yield f"-{width}-{scheme}", look | {"has_touch": phone, "is_mobile": phone}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/screenshots"), help="the folder (runs/screenshots)")
    parser.add_argument("--only", nargs="+", metavar="STATE", choices=[one.name for one in STATES], help="these states")
    parser.add_argument(
        "--tour", type=Path, metavar="DIR", help="the pictures of docs/tour.md, small, into this folder"
    )
    parser.add_argument("--width", type=int, help="pixels; without it 1280 in the light and 390 in the dark")
    parser.add_argument("--dark", action="store_true", help="with --width: the dark scheme")
    parser.add_argument("--language", default="en-GB", help="of the browser: zh-CN has the page in Chinese (en-GB)")
    options = parser.parse_args()
    if options.tour:
        options.out = options.tour
        options.only = options.only or TOUR.findall((ROOT / "docs" / "tour.md").read_text(encoding="utf-8"))
    return options


def taken(one: State, tab: Any, file: Path, *, small: bool) -> bool:
    """Puts a picture of the state into the file. Whether the page got there; else it is seen where it got."""
    reached = True
    try:
        one.do(tab)
    except Exception as error:  # Playwright's, which is imported where there is one
        reached = False
        print(f"{one.name}: {str(error).splitlines()[0]}")
    tab.wait_for_timeout(300)  # what moves has moved
    tab.screenshot(path=file)
    if small:
        with Image.open(file) as shot:
            shot.convert("RGB").quantize(COLOURS).save(file, optimize=True)
    print(file, flush=True)
    return reached


def main() -> None:
    """Takes them all, and says where each is."""
    from playwright.sync_api import sync_playwright

    options = parsed()
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = [one for one in STATES if options.only is None or one.name in options.only]
    missed = 0
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(CHROMIUM_ARGUMENTS))
        for flags, states in itertools.groupby(wanted, key=lambda one: ("--backend", "fake") * one.script + one.flags):
            with app(*flags) as (url, _):
                for one, (name, look) in itertools.product(list(states), list(looks(options))):
                    with shown(chromium, url, look) as tab:
                        missed += not taken(one, tab, options.out / f"{one.name}{name}.png", small=bool(options.tour))
    raise SystemExit(f"{missed} states weren't reached." if missed else 0)


if __name__ == "__main__":
    main()
