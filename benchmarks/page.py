"""What the page costs a browser: `python -m benchmarks.page`.

The first load beside a blank page of Gradio's: bytes over the wire, requests, seconds until the example cards stand
there. Then a long answer that streams at a reader's pace, as the first turn of a conversation and after 21 turns with
pictures, tables, code and formulas: processor time of the page's thread, time in scripts, bytes that come down, tasks
that held it up, frames that came late. The first turn is the other way: what came before ought to cost nothing.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.browser import CHROMIUM, MISSING, ask, browser
from benchmarks.first_load import Load, blank, first_load
from benchmarks.report import Headline, arguments, finish, table
from benchmarks.server import SERVED, app
from benchmarks.talk import pictures

BEFORE = 21  # turns, every third with a picture
SAID = r"""## What was found
| shape | count |
|---|---|
| circle | 2 |

With $E = mc^2$, and `code`:

```python
def area(side: float) -> float:
    return side**2
```
"""
GOAL = 0.5  # at turn 22 at most twice of what turn 1 took
LONG = 100.0  # milliseconds; a task that takes longer is felt
FRAME = 1000 / 60
METRICS = ("Timestamp", "TaskDuration", "ScriptDuration")
# Notes tasks of 50 ms and more, and how far apart frames are.
WATCH = """() => {
  window.tasks = [], window.frames = [];
  window.noted?.disconnect();
  window.noted = new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((one) => one.duration)));
  window.noted.observe({type: 'longtask'});
  const run = window.run = {};
  let last = performance.now();
  const frame = (now) => {
    window.frames.push(now - last);
    last = now;
    if (window.run === run) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""


@dataclass(frozen=True)
class Streamed:
    """One long answer. `longest` of its tasks in milliseconds, 0 where none took 50; `late` are frames that came more
    than a frame late, of all."""

    seconds: float
    busy: float  # seconds that the page's thread computed
    script: float  # of these in JavaScript
    down: int  # bytes
    longest: float
    late: float

    @property
    def share(self) -> float:
        return self.busy / self.seconds


def streamed(tab: Any, wire: Any) -> Streamed:
    """Asks for a long answer and takes it away again."""
    bytes_down: list[int] = []
    counted = lambda event: bytes_down.append(int(event["dataLength"]))  # noqa: E731
    wire.on("Network.dataReceived", counted)
    tab.evaluate(WATCH)
    before = _metrics(wire)
    ask(tab, "long", [])
    after = _metrics(wire)
    wire.remove_listener("Network.dataReceived", counted)
    tasks, frames = tab.evaluate("() => { window.run = null; return [window.tasks, window.frames]; }")
    tab.locator("#conversation .user-row .delete").last.click()
    tab.wait_for_function("!document.querySelector('#conversation').textContent.includes('word10 ')")
    tab.fill("#box textarea", "")
    took = {name: after[name] - before[name] for name in before}
    late = sum(gap > 2 * FRAME for gap in frames) / len(frames)
    return Streamed(
        took["Timestamp"], took["TaskDuration"], took["ScriptDuration"], sum(bytes_down), max(tasks, default=0.0), late
    )


def _metrics(wire: Any) -> dict[str, float]:
    found = wire.send("Performance.getMetrics")["metrics"]
    return {
        one["name"]: one["value"] for one in found if one["name"] in ("Timestamp", "TaskDuration", "ScriptDuration")
    }


def by_turn(url: str, folder: Path, repeats: int) -> tuple[list[Streamed], list[Streamed]]:
    """The answer as the first turn, and as the one behind all that was said before."""
    with browser(url) as tab:
        wire = tab.context.new_cdp_session(tab)
        wire.send("Network.enable")
        wire.send("Performance.enable")
        streamed(tab, wire)  # what loads with the first answer is loaded
        first = [streamed(tab, wire) for _ in range(repeats)]
        for turn in range(BEFORE):
            ask(tab, SAID, [item.path for item in pictures(folder, 784, turn)] if turn % 3 == 0 else [])
        return first, [streamed(tab, wire) for _ in range(repeats)]


def loads(url: str) -> tuple[Load, Load]:
    """The first look at the page, and at one with nothing in it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, blank() as empty:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        least = first_load(chromium, empty, ".gradio-container")
        return first_load(chromium, url, "#conversation .example"), least


def main() -> None:
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("--rate", type=float, default=20.0, help="pace of the scripted engine, words per second (20)")
    parser.add_argument("--tokens", type=int, default=400, help="words of the answer (400)")
    options = parser.parse_args()
    if not CHROMIUM.exists():
        finish(options, "page", [], unmeasured=[MISSING])
        return
    flags = ("--rate", str(options.rate), "--tokens", str(options.tokens))
    with tempfile.TemporaryDirectory() as made, app(*flags, what=SERVED) as (url, _):
        ours, least = loads(url)
        first, last = by_turn(url, Path(made), options.repeats)
    middle = lambda name, of: statistics.median(getattr(one, name) for one in of)  # noqa: E731
    rows = [
        Headline("page_kilobytes", ours.kilobytes, least.kilobytes, "kB"),
        Headline("page_requests", float(ours.requests), float(least.requests), "requests"),
        Headline("page_seconds", ours.seconds, least.seconds, "s"),
        Headline("page_busy", middle("busy", last), middle("busy", first), "s", GOAL),
        Headline("page_script", middle("script", last), middle("script", first), "s", GOAL),
        Headline("page_bytes", middle("down", last), middle("down", first), "bytes"),
    ]
    told = [
        (f"turn {turn}", 100 * middle("share", of), max(one.longest for one in of), 100 * middle("late", of))
        for turn, of in ((1, first), (BEFORE + 1, last))
    ]
    print(f"{options.tokens} words at {options.rate:g} a second; tasks of more than {LONG:g} ms are felt\n")
    print(table(("answer", "processor, %", "longest task, ms", "late frames, %"), told))
    details = {"first": [asdict(one) for one in first], "last": [asdict(one) for one in last], "before": BEFORE}
    finish(options, "page", rows, details=details)


if __name__ == "__main__":
    main()
