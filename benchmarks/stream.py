"""What streaming through the page costs: `python -m benchmarks.stream`.

Tokens per second of a scripted engine at a fixed pace, as they arrive in a real browser and at a plain client of the
page, beside the same engine alone. The conversation behind it has 20 turns and 10 pictures. Then: bytes per update with
that history and without, and how long the event loop kept others waiting while a model read a 6,272-token prompt.
"""

from __future__ import annotations

import itertools
import json
import re
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.browser import CHROMIUM, MISSING, ask, browser
from benchmarks.report import Headline, arguments, finish, table
from benchmarks.server import SERVED, app
from benchmarks.talk import pictures
from tests.ui.serving import Served, Wire

TURNS, PICTURES = 20, 10
GOAL = 0.97
ASKED = "a question like many others, as wordy as people are: " + "and so on " * 20
WORD = re.compile(r"word(\d+)")
# Notes when the browser's document first holds each number of words.
WATCH = """() => {
  window.seen = [];
  const look = () => {
    const words = [...document.querySelectorAll('#conversation .bot-row .words')].at(-1);
    const found = words?.textContent.match(/word(\\d+)\\s*$/);
    const count = found ? Number(found[1]) + 1 : 0;
    const last = window.seen.at(-1);
    if (count && (!last || count > last[1])) window.seen.push([performance.now() / 1000, count]);
  };
  window.watch?.disconnect();
  window.watch = new MutationObserver(look);
  window.watch.observe(document.querySelector('#conversation'), {subtree: true, childList: true, characterData: true});
}"""


@dataclass(frozen=True)
class Update:
    """One message of the server about a running answer: when it came, its bytes, the text that it added among them, in
    characters, and words of the answer so far."""

    time: float
    bytes: int
    text: int
    words: int


def rate(stamps: list[tuple[float, int]]) -> float:
    """Tokens per second between the first and the last of (seconds, tokens so far)."""
    (first, before), (last, total) = stamps[0], stamps[-1]
    return (total - before) / (last - first)


def engine_rate(per_second: float, tokens: int) -> float:
    """Tokens per second of the scripted engine alone."""
    from ovis_app.backends.fake import FakeBackend
    from ovis_app.conversation import Conversation, Message
    from ovis_app.generation import Answer, Request

    events = FakeBackend(delay=1 / per_second, tokens=tokens).stream(Request(Conversation((Message("user", "long"),))))
    stamps = [time.perf_counter() for event in events if isinstance(event, Answer)]
    return rate(list(zip(stamps, range(1, len(stamps) + 1), strict=True)))


def tab(url: str) -> Wire:
    """A tab of the page without a browser."""
    return Wire(Served(f"{url}/", None, None))  # type: ignore[arg-type]


def talk_long(wire: Wire, folder: Path) -> None:
    """Gives the tab a history of `TURNS` turns, `PICTURES` of them with a picture."""
    for turn in range(TURNS):
        with_picture = turn % (TURNS // PICTURES) == 0
        files = [wire.upload(item.path) for item in pictures(folder, 784, turn)] if with_picture else []
        wire.ask(ASKED, files)


def updates(wire: Wire) -> list[Update]:
    """Asks for a long answer and returns what the server sends while it grows; the tab keeps nothing of it."""
    found: list[Update] = []
    words = 0
    for frame in wire.frames(wire.start("long")):
        if frame["kind"] != "answer":
            continue
        counted = WORD.findall(frame["text"])
        words = int(counted[-1]) + 1 if counted else words
        found.append(Update(time.perf_counter(), len(json.dumps([frame])), len(frame["text"]), words))
    return found


def growth(found: list[Update]) -> list[Update]:
    """The updates that brought more words, but for the first."""
    return [now for before, now in itertools.pairwise(found) if now.words > before.words]


def browser_rates(url: str, folder: Path, repeats: int) -> list[float]:
    """Tokens per second in a browser whose tab has the long history."""
    found = []
    with browser(url) as one:
        for turn in range(TURNS):
            with_picture = turn % (TURNS // PICTURES) == 0
            ask(one, ASKED, [item.path for item in pictures(folder, 784, turn)] if with_picture else [])
        for _ in range(repeats):
            one.evaluate(WATCH)
            ask(one, "long", [])
            found.append(rate([(seconds, int(count)) for seconds, count in one.evaluate("window.seen")]))
            one.locator("#conversation .user-row .delete").last.click()
            one.wait_for_function("!document.querySelector('#conversation').textContent.includes('word10 ')")
            one.fill("#box textarea", "")
    return found


def pulse(shape: str, folder: Path) -> dict[str, float]:
    """While a model of that shape reads 6,272 visual tokens: the event loop's worst gap, the worst round trip to a
    small route, and the seconds to the first token, during which it would have stood still."""
    from benchmarks.shapes import checkpoint

    model = checkpoint(shape, folder / f"random-{shape}")
    with app("--model", str(model), what=SERVED) as (url, _):
        wire = tab(url)
        wire.ask("Hello")  # loads the model
        files = [wire.upload(item.path) for item in pictures(folder, 6272, 5)]
        httpx.get(f"{url}/pulse")
        start = time.perf_counter()
        ended, trips = _listen(wire, wire.start("What is this?", files, max_tokens=1), url)
        beats = httpx.get(f"{url}/pulse").json()
    return {"gap": beats["worst"], "beats": beats["beats"], "round_trip": max(trips), "first_token": ended - start}


def _listen(wire: Wire, event: str, url: str) -> tuple[float, list[float]]:
    """When the answer came, and the seconds of each round trip to a small route until then."""
    ended, trips = threading.Event(), [0.0]

    def knock() -> None:
        with httpx.Client() as client:
            while not ended.wait(0.05):
                start = time.perf_counter()
                client.get(f"{url}/gradio_api/startup-events")
                trips.append(time.perf_counter() - start)

    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        for _ in wire.frames(event):
            pass
        return time.perf_counter(), trips
    finally:
        ended.set()
        knocking.join()


def main() -> None:
    parser = arguments(__doc__, shape="44m")
    parser.add_argument("--rate", type=float, default=200.0, help="pace of the scripted engine, tokens per second")
    # Ten seconds, so that the last update's way to the screen weighs little.
    parser.add_argument("--tokens", type=int, default=2000, help="length of the answers that are timed (2000)")
    options = parser.parse_args()
    unmeasured = [] if CHROMIUM.exists() else [MISSING]
    alone, client, chromium = [], [], []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with app("--rate", str(options.rate), "--tokens", str(options.tokens), what=SERVED) as (url, _):
            short = growth(updates(tab(url)))
            wire = tab(url)
            talk_long(wire, folder)
            long: list[Update] = []
            for _ in range(options.repeats):
                alone.append(engine_rate(options.rate, options.tokens))
                long = updates(wire)
                client.append(rate([(update.time, update.words) for update in long if update.words]))
            if not unmeasured:
                chromium = browser_rates(url, folder, options.repeats)
        beats = pulse(options.shape, folder)
    median = statistics.median
    size = {"no history": _bytes(short), f"{TURNS} turns, {PICTURES} pictures": _bytes(growth(long))}
    print(f"Scripted engine at {options.rate:g} tokens/s, {TURNS} turns and {PICTURES} pictures before it\n")
    print(table(("history", "bytes per update beside the new text"), list(size.items())))
    print(f"\nWhile a {options.shape} model read 6,272 visual tokens, {beats['first_token']:.1f} s:\n")
    late = [("event loop late by, at most", beats["gap"]), ("round trip to the page, at most", beats["round_trip"])]
    print(table(("what", "s"), late))
    headline = [Headline("stream_client", median(client), median(alone), "tokens/s", GOAL)]
    if chromium:
        headline.insert(0, Headline("stream", median(chromium), median(alone), "tokens/s", GOAL))
    details = {"bytes_per_update": size, "heartbeat": beats, "shape": options.shape, "turns": TURNS}
    finish(options, "stream", headline, details=details, unmeasured=unmeasured)


def _bytes(found: list[Update]) -> float:
    return statistics.median(update.bytes - update.text for update in found)


if __name__ == "__main__":
    main()
