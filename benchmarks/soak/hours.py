"""F21: eight people for half an hour, three of ten answers left midway. Knows threads, descriptors and waits."""

from __future__ import annotations

import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.figure import Figure, sentences
from benchmarks.soak.people import Heard, person, picture
from benchmarks.soak.server import Held, Running, patiently, running

CLIENTS, TURNS, TOKENS = 8, 4, 24
LEAVE, OF, AFTER = 3, 10, (0, 1, 3)  # so many of ten answers are left, after so many pieces
LEFT = (0.25, 0.35)  # of all answers, so that the load was what it says
SILENT = 0.01  # of all answers may end without a word: a random token in some thousands is the end
DRIFT = 0.2
WARM_SECONDS, CALM = 20.0, 30.0  # of the same load before; seconds in which threads that wait for work end
MOMENT = 1.0  # seconds that somebody waits after a failure

Answers = Sequence[tuple[float, Heard]]  # seconds from the start at which each was asked


@dataclass
class Crowd:
    """Eight people who ask until an end, each one conversation after another, each with a picture of its own."""

    server: Running
    folder: Path
    seed: int = 0
    answers: list[tuple[float, Heard]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask_for(self, seconds: float) -> Answers:
        start = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda number: self._person(number, start, start + seconds), range(CLIENTS)))
        return self.answers

    def _person(self, number: int, start: float, end: float) -> None:
        chance = random.Random(self.seed + number)
        leaves = leaving(chance)
        while time.monotonic() < end:
            own = picture(self.folder, chance.getrandbits(60))
            with person(self.server.url, number).open() as one:
                for turn in range(TURNS):
                    begun, files = time.monotonic(), [own] if turn == 0 else []
                    heard = one.turn(f"{chance.random()}: what is it?", files, tokens=TOKENS, leave=next(leaves))
                    with self.lock:
                        self.answers.append((begun - start, heard))
                    if heard.failed:
                        time.sleep(MOMENT)
            own.unlink()


def leaving(chance: random.Random) -> Iterator[int | None]:
    """After how many pieces each answer is left, or None: of each ten as many as it should be."""
    while True:
        ten = [chance.choice(AFTER) if place < LEAVE else None for place in range(OF)]
        yield from chance.sample(ten, OF)


def soaked(folder: Path, minutes: float) -> Figure:
    with running(folder) as server:
        Crowd(server, folder, seed=1000).ask_for(min(WARM_SECONDS, 10 * minutes))
        time.sleep(min(CALM, 10 * minutes))
        before = Held.by(server)
        print(f"F21: before {before}", file=sys.stderr, flush=True)
        answers = Crowd(server, folder).ask_for(60 * minutes)
        patiently(lambda: Held.by(server).within(before), CALM)
        after = Held.by(server)
    return held_up(minutes, before, after, answers)


def held_up(minutes: float, before: Held, after: Held, answers: Answers) -> Figure:
    """What was held before and after, and what was heard meanwhile."""
    failed = [heard.failed for _, heard in answers if heard.failed]
    left = sum(heard.left for _, heard in answers) / max(len(answers), 1)
    silent = sum(heard.ended and heard.first is None for _, heard in answers)
    fifth = 60 * minutes / 5
    first = p95([heard.first for begun, heard in answers if heard.first is not None and begun < fifth])
    last = p95([heard.first for begun, heard in answers if heard.first is not None and begun >= 4 * fifth])
    drift = last / first - 1
    found = (
        f"{len(answers)} asked, {left:.0%} left, {silent} without a word, {len(failed)} failed; "
        f"{before.to(after)}; p95 {1000 * first:.0f} → {1000 * last:.0f} ms ({drift:+.0%})"
    )
    found += f"; failed: {sentences(failed)}" if failed else ""
    met = after.within(before) and drift <= DRIFT and not failed
    met = met and LEFT[0] <= left <= LEFT[1] and silent <= SILENT * len(answers)
    what = f"{CLIENTS} clients for {minutes:g} minutes, {LEAVE} of {OF} answers left midway, half by /v1"
    target = (
        f"{LEFT[0]:.0%} to {LEFT[1]:.0%} left, 0 failed, threads and descriptors as before, "
        f"p95 of the first token at most {DRIFT:+.0%} from first to last fifth"
    )
    return Figure("F21", what, target, found, met)


def p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else float("nan")
