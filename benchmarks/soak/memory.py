"""F7: a device that runs out of memory ten times, and F15: five hundred conversations. Knows megabytes."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.soak.figure import Figure
from benchmarks.soak.people import Program, Tab, person, picture
from benchmarks.soak.server import patiently, running

TIMES, GROWN = 10, 20.0
TURNS, WARM, MOST = 10, 5, 50.0  # of a conversation; one of so many warms up; megabytes


def out_of_memory(folder: Path) -> Figure:
    """Ten failures of the page and ten of /v1, each with a picture, then one more question of both."""
    fault, failed, errors = folder / "fault", [], []
    with ExitStack() as stack:
        server = stack.enter_context(running(folder, what=("-m", "benchmarks.soak.faulty", str(fault))))
        people = [stack.enter_context(one(server.url).open()) for one in (Tab, Program)]
        for seed in range(3):
            [one.turn("What is it?", [picture(folder, seed)], tokens=8) for one in people]
        fault.touch()
        for one in people:  # what the C library keeps of the first failure, it uses for the next ones
            one.turn("And this?", [picture(folder, 5)], tokens=8)
        before = server.memory()
        for seed in range(TIMES):
            failed += [one.turn("And this?", [picture(folder, 10 + seed)], tokens=8).failed for one in people]
            print(f"F7: {server.memory() - before:+.1f} MB", file=sys.stderr, flush=True)
        fault.unlink()
        patiently(lambda: server.memory() - before <= GROWN, 10)
        grown = server.memory() - before
        errors = [one.turn("And now?", [picture(folder, 3)], tokens=8).failed for one in people]
    clear = sum("memory" in sentence and sentence.endswith(".") and "Tried" not in sentence for sentence in failed)
    found = f"{clear} of {len(failed)} clear, {grown:+.0f} MB, then {'answered' if not any(errors) else errors}"
    met = clear == len(failed) == 2 * TIMES and grown <= GROWN and not any(errors)
    wanted = f"{2 * TIMES} clear messages, at most +{GROWN:.0f} MB, the next answered"
    return Figure("F7", "out of memory ten times, page and /v1", wanted, found, met)


def conversations(folder: Path, number: int) -> Figure:
    """Four at a time, of the page and of /v1 in turn; the first fifth again before them, as a warm-up."""
    with running(folder) as server:

        def talk(seed: int) -> int:
            own = picture(folder, seed)
            with person(server.url, seed).open() as one:
                heard = [one.turn("What is it?", [own], tokens=8)]
                heard += [one.turn(f"And {turn}?", tokens=8) for turn in range(1, TURNS)]
            own.unlink()
            return sum(bool(answer.failed) for answer in heard)

        with ThreadPoolExecutor(4) as pool:
            failed = sum(pool.map(talk, range(number // WARM)))
            before = server.memory()
            print(f"F15: {before:.0f} MB after {number // WARM} conversations", file=sys.stderr, flush=True)
            for done in range(0, number, max(number // 5, 1)):
                failed += sum(pool.map(talk, range(10_000 + done, 10_000 + min(done + number // 5, number))))
                print(f"F15: {server.memory():.0f} MB after {done + number // 5} more", file=sys.stderr, flush=True)
        patiently(lambda: server.memory() - before <= MOST, 10)
        grown = server.memory() - before
    found = f"{grown:+.0f} MB over {before:.0f} MB, {failed} of {TURNS * (number + number // WARM)} failed"
    what = f"{number} conversations (picture, {TURNS} turns), half by /v1, after {number // WARM}"
    return Figure("F15", what, f"at most +{MOST:.0f} MB", found, grown <= MOST and not failed)
