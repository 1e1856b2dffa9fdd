"""F7: a device that runs out of memory ten times, and F15: hundreds of conversations, of which some are left in the
middle and some come back to. Knows megabytes, and what is held."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from benchmarks.soak.figure import Figure, sentences
from benchmarks.soak.people import Heard, Messages, Program, Tab, person, picture
from benchmarks.soak.server import Held, patiently, running

TIMES, GROWN = 10, 20.0
TURNS, TOKENS, MOST = 10, 8, 50.0  # of a conversation; of an answer; megabytes
LEAVES, ALIKE, RETURNS = 3, 5, 9  # one in so many leaves in the middle, is about a picture of others', is come back to
SHARED = 3  # pictures that several are about
STAYS, FORGOTTEN = 1.0, 120.0  # megabytes of files; seconds after which those of sessions that ended are gone
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


@dataclass(frozen=True)
class Left:
    """What is held of the server when all is quiet: after the warm-up, at the end, and there megabytes of files and
    blocks of the KV pool."""

    before: Held
    after: Held
    files: float
    blocks: float

    @property
    def nothing(self) -> bool:
        return self.after.within(self.before) and self.files <= STAYS and not self.blocks


@dataclass(frozen=True)
class Talk:
    """A conversation: its number, what was heard, and what was said before its last question."""

    number: int
    heard: tuple[Heard, ...]
    said: Messages

    @property
    def whole(self) -> bool:
        """Each answer was heard to its end, but for a last one that was left."""
        *most, last = self.heard or (Heard(),)
        return len(self.heard) == TURNS and all(one.ended for one in most) and (last.ended or last.left)


def conversations(folder: Path, number: int) -> Figure:
    """Four at a time, of the page and of /v1 in turn; a fifth as many before them, as a warm-up. After each part some
    of it and some of the warm-up are come back to."""
    with running(folder, "--metrics") as server:
        shared = [picture(folder, -1 - seed) for seed in range(SHARED)]
        one_of_many, again = (partial(does, server.url, folder, shared) for does in (talk, come_back))
        loaded, then = server.memory(), []
        with ThreadPoolExecutor(4) as pool:
            talked = list(pool.map(one_of_many, range(number // WARM)))
            early = [one for one in talked if returns(one)]
            warm = server.memory()
            print(f"F15: {loaded:.0f} MB, {warm:.0f} MB after {len(talked)} conversations", file=sys.stderr, flush=True)
            patiently(lambda: server.kept() <= STAYS, FORGOTTEN)
            before, right = Held.by(server), list[bool]()
            for part in range(5):
                some = list(pool.map(one_of_many, range(1000 + part * number // 5, 1000 + (part + 1) * number // 5)))
                right += pool.map(again, [*(one for one in some if returns(one)), *early])
                talked += some
                then.append(server.memory())
                blocks = server.figure("ovis_kv_blocks_cached")
                print(
                    f"F15: {then[-1]:.0f} MB after {len(talked)}, {server.kept():.1f} MB of files, {blocks:.0f} blocks "
                    f"cached, {Held.by(server)}", file=sys.stderr, flush=True,
                )  # fmt: skip
        patiently(lambda: server.memory() - warm <= MOST, 10)
        then[-1] = server.memory()
        patiently(lambda: server.kept() <= STAYS and Held.by(server).within(before), FORGOTTEN)
        left = Left(before, Held.by(server), server.kept(), server.figure("ovis_kv_blocks_used"))
    return grew(number, talked, Sizes(loaded, warm, tuple(then)), right, left)


def about(folder: Path, shared: Sequence[Path], number: int) -> Path:
    """The picture of a conversation: its own, or in some one that others are about, too."""
    return shared[number % len(shared)] if number % ALIKE == 0 else picture(folder, number)


def returns(one: Talk) -> bool:
    return one.number % RETURNS == 1 and one.heard[-1].ended


def talk(url: str, folder: Path, shared: Sequence[Path], number: int) -> Talk:
    """One in three leaves its last answer in the middle."""
    own, heard, said = about(folder, shared, number), list[Heard](), Messages()
    with person(url, number).open() as one:
        for turn in range(TURNS):
            said, last = one.remembered(), turn == TURNS - 1
            leave = number % 4 if last and number % LEAVES == 0 else None
            files, seed = [] if turn else [own], TURNS * number + turn
            heard.append(one.turn(question(turn), files, tokens=TOKENS, leave=leave, seed=seed))
    if own not in shared:
        own.unlink()
    return Talk(number, tuple(heard), said)


def come_back(url: str, folder: Path, shared: Sequence[Path], former: Talk) -> bool:
    """Whether somebody new who goes on with that conversation hears, to its last question, what was heard then."""
    own, turn = about(folder, shared, former.number), TURNS - 1
    with person(url, former.number).open() as one:
        one.come_back(former.said, [own])
        heard = one.turn(question(turn), tokens=TOKENS, seed=TURNS * former.number + turn)
    if heard.text != former.heard[-1].text:
        print(f"F15: {former.number} heard {heard}, and then {former.heard[-1]}", file=sys.stderr, flush=True)
    return heard.ended and heard.text == former.heard[-1].text


def question(turn: int) -> str:
    return f"And {turn}?" if turn else "What is it?"


def grew(number: int, talked: Sequence[Talk], sizes: Sizes, right: Sequence[bool], left: Left) -> Figure:
    """`talked` are the conversations, those of the warm-up first; `right` says of each that was come back to whether
    the same was heard."""
    before, whole = number // WARM, [one.whole for one in talked]
    heard = [one for talk in talked for one in talk.heard]
    parts = ", ".join(f"{late - early:+.0f}" for early, late in pairwise((sizes.warm, *sizes.then)))
    found = (
        f"{sizes.grown:+.0f} MB over {sizes.warm:.0f} MB, by fifths {parts}; "
        f"the warm-up itself {sizes.warm - sizes.loaded:+.0f} MB; {sum(whole[before:])} of {number} conversations "
        f"whole, {sum(one.left for one in heard)} answers left midway, "
        f"{sum(right)} of {len(right)} right when come back to; "
        f"{left.before.to(left.after)}, {left.files:.1f} MB of files, {left.blocks:.0f} blocks held"
    )
    if wrong := sentences(one.failed for one in heard):
        found += f"; failed: {wrong}"
    met = sizes.grown <= MOST and number >= FEWEST and len(whole) == before + number and all(whole)
    met = met and bool(right) and all(right) and left.nothing
    what = (
        f"{number} conversations (picture, {TURNS} turns), half by /v1, after {before} as a warm-up; one in {LEAVES} "
        f"leaves its last answer, one in {RETURNS} is come back to"
    )
    target = f"at most +{MOST:.0f} MB, the same answer to who comes back, threads and descriptors as before"
    return Figure("F15", what, target, found, met)
