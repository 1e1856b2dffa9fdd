"""What streaming through the page costs: `python -m benchmarks.stream`.

Seconds to a usable page, seconds to Ovis-mini's first token, and tokens per second of an engine alone beside the same
engine behind the page, as a client of the page receives them. The engine is the scripted backend at a fixed pace, so
that the ratio speaks of the page and of nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from benchmarks.server import ROOT, app

TOKENS = 400


def engine_rate(delay: float) -> float:
    """Tokens per second of the scripted backend alone, from its first token to its last."""
    from ovis_app.backends.fake import FakeBackend
    from ovis_app.conversation import Conversation, Message
    from ovis_app.generation import Answer, Request

    backend = FakeBackend(delay=delay, tokens=TOKENS)
    stamps = [
        time.perf_counter()
        for event in backend.stream(Request(Conversation((Message("user", "long"),))))
        if isinstance(event, Answer)
    ]
    return (len(stamps) - 1) / (stamps[-1] - stamps[0])


def page_rate(url: str) -> float:
    """Tokens per second at a client of the page, from the first update that holds text to the last."""
    from gradio_client import Client

    client = Client(url, verbose=False)
    stamps: list[tuple[float, int]] = []
    for text in client.submit("long", [], api_name="/chat"):
        count = len(str(text).split())
        if count and (not stamps or count > stamps[-1][1]):
            stamps.append((time.perf_counter(), count))
    (first, before), (last, total) = stamps[0], stamps[-1]
    return (total - before) / (last - first)


def first_token(url: str) -> float:
    """Seconds from the question to the first text at a client, the model being loaded."""
    from gradio_client import Client, handle_file

    client = Client(url, verbose=False)
    picture = handle_file(str(ROOT / "assets" / "examples" / "shapes.png"))
    client.predict("Describe the image.", [picture], api_name="/chat")  # loads the model
    start = time.perf_counter()
    for text in client.submit("How many shapes are there?", [picture], api_name="/chat"):
        if text:
            return time.perf_counter() - start
    raise RuntimeError("no answer came")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0, help="pace of the scripted engine, tokens per second")
    parser.add_argument("--repeats", type=int, default=3, help="medians are of this many")
    options = parser.parse_args()
    delay = 1.0 / options.rate
    pages, ours, alone = [], [], []
    for _ in range(options.repeats):
        alone.append(engine_rate(delay))
        with app("--backend", "fake", "--fake-rate", str(options.rate)) as (url, seconds):
            pages.append(seconds)
            ours.append(page_rate(url))
    mini = Path(ROOT, "assets", "ovis-mini", "config.json").is_file()
    firsts = []
    if mini:
        with app() as (url, _):
            firsts = [first_token(url) for _ in range(options.repeats)]
    median = statistics.median
    print("| what | value |\n|---|---|")
    print(f"| usable page after | {median(pages):.1f} s |")
    if firsts:
        print(f"| Ovis-mini, question to first text at a client | {median(firsts):.2f} s |")
    print(f"| engine alone | {median(alone):.0f} tokens/s |")
    print(f"| the same engine at a client of the page | {median(ours):.0f} tokens/s |")
    print(f"| ratio | {median(o / a for o, a in zip(ours, alone, strict=True)):.3f} |")


if __name__ == "__main__":
    main()
