"""F7: a device that runs out of memory ten times, and F15: five hundred conversations. Knows megabytes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.soak.figure import Figure, sentences
from benchmarks.soak.people import Heard, Program, Tab, person, picture
from benchmarks.soak.server import patiently, running

TIMES, GROWN = 10, 20.0
TURNS, MOST = 10, 50.0  # of a conversation; megabytes
WARM, FEWEST = 5, 10  # a fifth as many conversations before, as a warm-up; with fewer nothing is measured


def out_of_memory(folder: Path) -> Figure:
    """Ten failures of the page and ten of /v1, each with a picture, then one more question of both. Memory is compared
    with that before the first of them, so whoever keeps the last failure is seen."""
    fault = folder / "fault"
    with ExitStack() as stack:
        server = stack.enter_context(running(folder, what=("-m", "benchmarks.soak.faulty", str(fault))))
        people = [stack.enter_context(one(server.url).open()) for one in (Tab, Program)]
        warm = [one.turn("What is it?", [picture(folder, seed)], tokens=8) for seed in range(TIMES) for one in people]
        before = server.memory()
        fault.touch()
        failed = []
        for seed in range(TIMES):
            failed += [one.turn("And this?", [picture(folder, 100 + seed)], tokens=8).failed for one in people]
            print(f"F7: {server.memory() - before:+.1f} MB", file=sys.stderr, flush=True)
        fault.unlink()
        patiently(lambda: server.memory() - before <= GROWN, 10)
        grown = server.memory() - before
        others = [*warm, *(one.turn("And now?", [picture(folder, 3)], tokens=8) for one in people)]
    return survived(failed, grown, [one.failed for one in others])


def survived(failed: Sequence[str], grown: float, others: Sequence[str]) -> Figure:
    """What was said while memory was short, how much larger the server was then, and what was said before and after."""
    clear = sum("memory" in one and one.endswith(".") and "Tried" not in one for one in failed)
    found = f"{clear} of {len(failed)} clear, {grown:+.0f} MB, before and then {sentences(others) or 'answered'}"
    met = clear == len(failed) == 2 * TIMES and grown <= GROWN and bool(others) and not any(others)
    wanted = f"{2 * TIMES} clear messages, at most +{GROWN:.0f} MB, the next answered"
    return Figure("F7", "out of memory ten times, page and /v1", wanted, found, met)


@dataclass(frozen=True)
class Sizes:
    """Megabytes of a server: once its model is loaded, after the warm-up, and after each part of what followed."""

    loaded: float
    warm: float
    then: tuple[float, ...]

    @property
    def grown(self) -> float:
        return self.then[-1] - self.warm


def conversations(folder: Path, number: int) -> Figure:
    """Four at a time, of the page and of /v1 in turn; a fifth as many before them, as a warm-up."""
    with running(folder) as server:

        def talk(seed: int) -> list[Heard]:
            own = picture(folder, seed)
            with person(server.url, seed).open() as one:
                heard = [one.turn("What is it?", [own], tokens=8)]
                heard += [one.turn(f"And {turn}?", tokens=8) for turn in range(1, TURNS)]
            own.unlink()
            return heard

        loaded, then = server.memory(), []
        with ThreadPoolExecutor(4) as pool:
            talked = list(pool.map(talk, range(number // WARM)))
            warm = server.memory()
            print(f"F15: {loaded:.0f} MB, {warm:.0f} MB after {len(talked)} conversations", file=sys.stderr, flush=True)
            for part in range(5):
                talked += pool.map(talk, range(1000 + part * number // 5, 1000 + (part + 1) * number // 5))
                then.append(server.memory())
                print(f"F15: {then[-1]:.0f} MB after {len(talked)}", file=sys.stderr, flush=True)
        patiently(lambda: server.memory() - warm <= MOST, 10)
        then[-1] = server.memory()
    return grew(number, talked, Sizes(loaded, warm, tuple(then)))


def grew(number: int, talked: Sequence[Sequence[Heard]], sizes: Sizes) -> Figure:
    """`talked` are the conversations, those of the warm-up first."""
    before, whole = number // WARM, [len(one) == TURNS and all(heard.ended for heard in one) for one in talked]
    parts = ", ".join(f"{late - early:+.0f}" for early, late in pairwise((sizes.warm, *sizes.then)))
    found = (
        f"{sizes.grown:+.0f} MB over {sizes.warm:.0f} MB, by fifths {parts}; "
        f"the warm-up itself {sizes.warm - sizes.loaded:+.0f} MB; {sum(whole[before:])} of {number} conversations whole"
    )
    if wrong := sentences(heard.failed for one in talked for heard in one):
        found += f"; failed: {wrong}"
    met = sizes.grown <= MOST and number >= FEWEST and len(whole) == before + number and all(whole)
    what = f"{number} conversations (picture, {TURNS} turns), half by /v1, after {before} as a warm-up"
    return Figure("F15", what, f"at most +{MOST:.0f} MB", found, met)
