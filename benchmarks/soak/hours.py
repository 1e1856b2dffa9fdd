"""F21: eight people for half an hour, three of ten answers left midway. Knows threads, descriptors and waits."""

from __future__ import annotations

import random
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.figure import Figure
from benchmarks.soak.people import person, picture
from benchmarks.soak.server import Running, patiently, running

CLIENTS, LEAVE, TURNS = 8, 0.3, 4
DRIFT = 0.2
WARM_SECONDS, CALM = 20.0, 30.0  # of the same load before; seconds in which threads that wait for work end
TOKENS = 24


@dataclass
class Crowd:
    """Eight people who ask until an end, each one conversation after another; what was heard, by when."""

    server: Running
    folder: Path
    firsts: list[tuple[float, float]] = field(default_factory=list)  # when; seconds to the first token
    asked: int = 0
    left: int = 0
    failed: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask_until(self, end: float) -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda number: self._person(number, end), range(CLIENTS)))

    def _person(self, number: int, end: float) -> None:
        chance = random.Random(number)
        while time.monotonic() < end:
            own = picture(self.folder, number)
            with person(self.server.url, number).open() as one:
                for turn in range(TURNS):
                    leave = chance.choice((0, 1, 3, 6)) if chance.random() < LEAVE else None
                    files = [own] if turn == 0 and chance.random() < 0.5 else []
                    begun = time.monotonic()
                    heard = one.turn(f"{chance.random()}: what is it?", files, tokens=TOKENS, leave=leave)
                    with self.lock:
                        self.asked += 1
                        self.left += leave is not None
                        self.failed += [heard.failed] if heard.failed else []
                        self.firsts += [(begun, heard.first)] if heard.first is not None else []


def p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else float("nan")


def soaked(folder: Path, minutes: float) -> Figure:
    with running(folder) as server:
        warm = Crowd(server, folder)
        warm.ask_until(time.monotonic() + min(WARM_SECONDS, 10 * minutes))
        time.sleep(min(CALM, 10 * minutes))
        threads, descriptors, children = server.threads(), server.descriptors(), server.children()
        print(f"F21: {threads} threads, {descriptors} descriptors before", file=sys.stderr, flush=True)
        crowd, start = Crowd(server, folder), time.monotonic()
        crowd.ask_until(start + 60 * minutes)

        def calm() -> bool:
            now = (server.threads(), server.descriptors(), server.children())
            return all(one <= before for one, before in zip(now, (threads, descriptors, children), strict=True))

        back = patiently(calm, CALM)
        after = (server.threads(), server.descriptors(), server.children())
    fifth = 60 * minutes / 5
    first = p95([wait for begun, wait in crowd.firsts if begun < start + fifth])
    last = p95([wait for begun, wait in crowd.firsts if begun >= start + 4 * fifth])
    drift = last / first - 1
    found = (
        f"{crowd.asked} asked, {crowd.left} left, {len(crowd.failed)} failed; threads {threads} → {after[0]}, "
        f"descriptors {descriptors} → {after[1]}; p95 {1000 * first:.0f} → {1000 * last:.0f} ms ({drift:+.0%})"
    )
    for sentence in sorted(set(crowd.failed)):
        print(f"F21: failed: {sentence}", file=sys.stderr)
    what = f"{CLIENTS} clients for {minutes:g} minutes, {LEAVE:.0%} leave midway, half by /v1"
    target = f"threads and descriptors as before, p95 of the first token at most {DRIFT:+.0%} from first to last fifth"
    return Figure("F21", what, target, found, back and drift <= DRIFT and not crowd.failed)
