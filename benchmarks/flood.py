"""One machine's flood beside another person's page: `python -m benchmarks.flood`.

200 clients that never pause ask for the page, its files, its description and the model, each over connections of its
own, from a process of their own. Meanwhile a page is loaded in a real browser and a first question asked there, and by
a plain client the page alone: quiet first, then flooded, in the same run. Flooders and the visitor have one address,
and with `--trusted` each has the one that a proxy would say.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

import httpx

from benchmarks.browser import CHROMIUM, MISSING, ask, browser, visit
from benchmarks.report import Headline, arguments, finish, table
from benchmarks.server import ROOT, app

GOAL = 2.0  # seconds that another person's page may take
BEGUN = 3.0  # seconds of flood before anything is measured
LIMIT = 60.0  # seconds after which nothing is waited for any more, and counted as these
FLOODER, VISITOR = "203.0.113.7", "198.51.100.9"  # of the networks that documentation has
ASSET = re.compile(r'(?:href|src)="\./(assets/[^"]+)"')
FIGURES = {"flood_page": "a page in a browser", "flood_question": "its first question", "flood_get": "GET / alone"}


def request(target: str, host: str, forwarded: str, body: bytes = b"") -> bytes:
    """The bytes of one request."""
    lines = [f"{'POST' if body else 'GET'} {target} HTTP/1.1", f"Host: {host}", "Accept-Encoding: gzip, br"]
    lines += [f"X-Forwarded-For: {forwarded}"] if forwarded else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


async def answered(reader: asyncio.StreamReader) -> int:
    """Reads one answer, and forgets all but its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"content-length: (\d+)", head)
    if length:
        await reader.readexactly(int(length[1]))
    else:
        while (size := int(await reader.readuntil(b"\r\n"), 16)) or True:
            await reader.readexactly(size + 2)
            if not size:
                break
    return int(head.split()[1])


@dataclass(frozen=True)
class Flood:
    """What all of its clients ask in turn, and how many answers of each status there were; 0 is none."""

    url: str
    targets: Sequence[tuple[str, bytes]]
    forwarded: str
    answers: Counter[int] = field(default_factory=Counter)

    async def client(self, number: int) -> None:
        """Asks without end. Every other one opens a connection for each request."""
        place, writer = urlsplit(self.url), None
        for target, body in itertools.islice(itertools.cycle(self.targets), number, None):
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection(place.hostname, place.port)
                writer.write(request(target, place.netloc, self.forwarded, body))
                self.answers[await answered(reader)] += 1
            except (OSError, EOFError, ValueError):
                self.answers[0] += 1
                await asyncio.sleep(0.1)
            else:
                if number % 2:
                    continue
            if writer is not None:
                writer.close()
            writer = None

    async def run(self, clients: int) -> None:
        """All of them, until there is nobody who wants it."""
        crowd = asyncio.gather(*map(self.client, range(clients)))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        crowd.cancel()
        with suppress(asyncio.CancelledError):
            await crowd


def against(url: str, clients: int, forwarded: str) -> None:
    """The flood, in this process; prints what it was answered."""
    files = [(f"/{file}", b"") for file in ASSET.findall(httpx.get(url, timeout=60).text)]
    asked = ("/gradio_api/call/chat", json.dumps({"data": ["hello"]}).encode())
    flood = Flood(url, [("/", b""), *files, ("/config", b""), ("/gradio_api/info", b""), asked], forwarded)
    asyncio.run(flood.run(clients))
    print(json.dumps(flood.answers))


@contextmanager
def flooded(url: str, options: argparse.Namespace) -> Iterator[Counter[int]]:
    """A flood while the block runs. What it was answered is there afterwards."""
    command = [sys.executable, "-m", "benchmarks.flood", "--against", url, "--clients", str(options.clients)]
    command += ["--trusted"] if options.trusted else []
    answers: Counter[int] = Counter()
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            time.sleep(BEGUN)
            yield answers
            answers.update({int(status): n for status, n in json.loads(process.communicate()[0]).items()})
        finally:
            process.kill()


def timed(work: Callable[[], object], unfinished: type[Exception]) -> float:
    start = time.perf_counter()
    with suppress(unfinished):
        work()
    return time.perf_counter() - start


def visits(url: str, forwarded: str, repeats: int) -> dict[str, list[float]]:
    """Seconds of each figure, as often as it was measured."""
    headers = {"x-forwarded-for": forwarded} if forwarded else {}
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    for _ in range(repeats):
        page = partial(httpx.get, url, headers=headers, timeout=LIMIT)
        found["flood_get"].append(timed(page, httpx.TimeoutException))
    if CHROMIUM.exists():
        from playwright.sync_api import Error

        with browser() as one:
            one.set_extra_http_headers(headers)
            one.set_default_timeout(1000 * LIMIT)
            for _ in range(repeats):
                found["flood_page"].append(timed(partial(visit, one, url), Error))
                found["flood_question"].append(timed(partial(ask, one, "hello", []), Error))
    return found


def parsed() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--clients", type=int, default=200, help="of the flood (200)")
    parser.add_argument("--trusted", action="store_true", help="each has the address that a proxy says")
    parser.add_argument("--against", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    if options.against:
        against(options.against, options.clients, FLOODER if options.trusted else "")
        return
    flags = ["--backend", "fake", *(["--trusted-proxies", "127.0.0.1"] if options.trusted else [])]
    visitor = VISITOR if options.trusted else ""
    with app(*flags) as (url, _):
        visits(url, visitor, 1)  # nobody's first use of anything is measured
        quiet = visits(url, visitor, options.repeats)
        with flooded(url, options) as said:
            crowded = visits(url, visitor, options.repeats)
    middle = statistics.median
    rows = [
        (words, GOAL, middle(quiet[name]), middle(crowded[name]), max(crowded[name]))
        for name, words in FIGURES.items()
        if quiet[name]
    ]
    print(table(("what", "wanted at most, s", "quiet, s", "flooded, s", "flooded at most, s"), rows))
    print(f"\nThe flood was answered {said.total():,} times: {dict(sorted(said.items()))}")
    headline = [Headline(name, middle(crowded[name]), middle(quiet[name]), "s") for name in FIGURES if quiet[name]]
    unmeasured = [] if CHROMIUM.exists() else [MISSING]
    finish(options, "flood", headline, details={"answers": dict(said)}, unmeasured=unmeasured)


if __name__ == "__main__":
    main()
