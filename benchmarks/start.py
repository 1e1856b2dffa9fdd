"""How soon the page can be used: `python -m benchmarks.start`.

Seconds from the start of the process to a page that answers, and to a composer in a real browser: ours, where torch is
imported and the model loaded behind the page, beside a start that does both first. Then the seconds from a question
with a picture to Ovis-mini's first text at a client, once it is loaded.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from benchmarks.browser import CHROMIUM, MISSING, browser, visit
from benchmarks.report import Headline, arguments, finish, table
from benchmarks.server import APP, ROOT, SERVED, app

OURS = (APP, ())
EAGER = (SERVED, ("--model", "ovis-mini", "--eager"))
PICTURE = ROOT / "assets" / "examples" / "shapes.png"
Way = tuple[Sequence[str], Sequence[str]]


def answering(way: Way) -> float:
    """Seconds to a page that answers."""
    what, flags = way
    with app(*flags, what=what) as (_, seconds):
        return seconds


def usable(way: Way) -> float:
    """Seconds to a composer that can be typed into, in a browser that was open before."""
    what, flags = way
    with browser() as one, app(*flags, what=what) as (url, seconds):
        start = time.perf_counter()
        visit(one, url)
        return seconds + time.perf_counter() - start


def first_texts(repeats: int) -> list[float]:
    """Seconds from a question to the first text at a client of the page, the model being loaded."""
    from gradio_client import Client, handle_file

    found = []
    with app() as (url, _):
        client = Client(url, verbose=False)
        picture = handle_file(str(PICTURE))
        client.predict("Describe the image.", [picture], api_name="/chat")  # waits until it is loaded
        for number in range(repeats):
            start = time.perf_counter()
            for text in client.submit(f"How many shapes are there? {number}", [picture], api_name="/chat"):
                if text:
                    found.append(time.perf_counter() - start)
                    break
    return found


def main() -> None:
    options = arguments(__doc__).parse_args()
    median, times = statistics.median, range(options.repeats)
    answering(OURS)  # the first start reads files from the disk, whichever way it is
    pages = [(answering(OURS), answering(EAGER)) for _ in times]
    seen = [(usable(OURS), usable(EAGER)) for _ in times] if CHROMIUM.exists() else []
    texts = first_texts(options.repeats)
    rows = [("first text of Ovis-mini at a client, once loaded", 0.3, median(texts))]
    named = [("start_page", pages), ("start_browser", seen)]
    headline = [
        Headline(name, median(ours for ours, _ in runs), median(other for _, other in runs), "s")
        for name, runs in named
        if runs
    ]
    rows = [(f"{row.name}, ours", 5.0, row.ours) for row in headline] + rows
    print(table(("what", "wanted at most, s", "s"), rows))
    finish(
        options,
        "start",
        headline,
        details={"first_text": median(texts)},
        unmeasured=[] if seen else [MISSING],
    )


if __name__ == "__main__":
    main()
