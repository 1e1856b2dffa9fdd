"""Tokens a second for several people at once: `python -m benchmarks.users`.

Ours is the engine, asked from as many threads as there are people. The other way is one at a time, by transformers'
`generate`. The same random weights and prompts, in turn, in one run. Beside that: the first answer of an engine whose
weights were just read, and how long 16 people with a picture each wait.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks import ways
from benchmarks.report import Headline, arguments, finish, table
from benchmarks.shapes import device_of, random_model
from benchmarks.vision import picture
from benchmarks.ways import Clock, Prompt, Way, endless, prompts
from ovis_app.engine import plain
from ovis_app.engine.engine import Engine
from ovis_app.generation import GenerationSettings
from ovis_app.models.ovis import Ovis

USERS = (1, 2, 4, 8, 16, 32)
GOAL = 8.0  # of 16 users at once over one, on a GPU
CPU_GOALS = {"users_1": 1.5, "users_8": 5.0}  # of prompts of 64 tokens
WITH_PICTURES = 16  # people who ask about a picture each
PICTURE_PROMPT = 256  # tokens of their prompts
NO_PICTURES = "the wait of 16 people with a picture each: there is no GPU here (`--pictures` measures it all the same)."


@dataclass(frozen=True)
class Rate:
    """What all users together got: tokens a second, and the median wait for a first token in seconds."""

    tokens: float
    first: float


def rate(asked: Sequence[Prompt], way: Way) -> Rate:
    """All prompts at once, each from a thread of its own."""
    heard, seconds = ways.together(asked, way)
    return Rate(sum(len(one.times) for one in heard) / seconds, statistics.median(one.first for one in heard))


def measured(
    engine: Engine, users: Sequence[int], options: argparse.Namespace, tokens: int
) -> dict[int, tuple[Rate, Rate]]:
    """Medians of both ways, by users: ours, then one at a time."""
    model, settings = engine.runner.model, GenerationSettings(max_new_tokens=options.new)
    visual = tokens // 2 if options.visual is None else options.visual

    def both(number: int) -> tuple[Rate, Rate]:
        ours = rate(prompts(model, number, tokens, visual), ways.ours(engine, settings))
        return ours, rate(prompts(model, number, tokens, visual), ways.one_at_a_time(model, settings))

    both(2)  # nobody's first use of a kernel is measured
    found = {}
    for number in users:
        runs = [both(number) for _ in range(options.repeats)]
        found[number] = (middle([ours for ours, _ in runs]), middle([other for _, other in runs]))
    return found


def middle(rates: Sequence[Rate]) -> Rate:
    return Rate(statistics.median(one.tokens for one in rates), statistics.median(one.first for one in rates))


def first_answer(model: Ovis, *, people: int, tokens: int) -> tuple[float, float]:
    """Seconds from weights in memory to a first token, in a process that has computed nothing yet: ours with the plan
    of memory, its pool and its thread; then `generate`, for which the device is warm already."""
    settings, (asked, again) = GenerationSettings(max_new_tokens=1), prompts(model, 2, 32, 0)
    start = time.perf_counter()
    with ways.engine_over(model, people=people, tokens=tokens) as engine:
        engine.generate(asked, settings)
        ours = time.perf_counter() - start
    start = time.perf_counter()
    plain.generate(model, again, settings, ending=endless(model))
    return ours, time.perf_counter() - start


def with_pictures(engine: Engine, options: argparse.Namespace) -> tuple[float, float]:
    """The median wait for a first token of 16 people who ask at once about a picture each: ours, then `generate`."""
    model, settings = engine.runner.model, GenerationSettings(max_new_tokens=options.new)
    ours = median_wait(engine, ways.ours(engine, settings))
    return ours, median_wait(engine, ways.one_at_a_time(model, settings))


def median_wait(engine: Engine, way: Way) -> float:
    """Of prompts whose pictures the tower sees first, one after another, as the app does it."""
    model = engine.runner.model
    seen_by_tower(model, engine, 0)  # nobody's first use of a kernel is measured
    heard = [Clock(time.perf_counter()) for _ in range(WITH_PICTURES)]

    def ask(number: int, picture: Future[Tensor]) -> None:
        way(ways.prompt(number, PICTURE_PROMPT, picture.result()), heard[number])

    with ThreadPoolExecutor(WITH_PICTURES) as threads, ThreadPoolExecutor(1) as tower:
        pictures = [tower.submit(seen_by_tower, model, engine, number) for number in range(WITH_PICTURES)]
        list(threads.map(ask, range(WITH_PICTURES), pictures))
    return statistics.median(one.first for one in heard)


@torch.inference_mode()
def seen_by_tower(model: Ovis, engine: Engine, number: int) -> Tensor:
    """The visual embeddings of a picture, which the tower computes between the engine's steps."""
    return model.encode_many([picture(PICTURE_PROMPT // 2, 1 + number % 3)], turns=engine.turns)[0]


def parsed() -> argparse.Namespace:
    parser = arguments(__doc__, shape="44m")
    parser.add_argument("--users", type=int, default=16, help="how many at most (16; up to 32)")
    parser.add_argument("--counts", type=int, nargs="+", metavar="N", help="these numbers of users, in place of all")
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[64], help="of each prompt (64); others are for most users"
    )
    parser.add_argument("--visual", type=int, help="how many of them are a picture's (half)")
    parser.add_argument("--new", type=int, default=64, help="new tokens of each answer")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--pictures", action="store_true", help="pictures for 16 people on a CPU too")
    options = parser.parse_args()
    options.device = device_of(options.device)
    options.gpu = options.device.startswith("cuda")
    return options


def summary(found: dict[int, tuple[Rate, Rate]], options: argparse.Namespace) -> list[Headline]:
    goals: dict[str, float] = {} if options.gpu or options.tokens[0] != 64 else CPU_GOALS
    rows = [
        Headline(f"users_{n}", ours.tokens, other.tokens, "tokens/s", goals.get(f"users_{n}"))
        for n, (ours, other) in found.items()
    ]
    if 16 in found and 1 in found:
        goal = GOAL if options.gpu else None
        rows.append(Headline("users_16_beside_one", found[16][0].tokens, found[1][0].tokens, "tokens/s", goal))
    return rows


def shown(found: dict[int, tuple[Rate, Rate]]) -> str:
    columns = ("users", "ratio", "at once, tokens/s", "one at a time, tokens/s", "first token, s", "one at a time, s")
    rows = [
        (n, f"{ours.tokens / other.tokens:.2f} x", ours.tokens, other.tokens, ours.first, other.first)
        for n, (ours, other) in found.items()
    ]
    return table(columns, rows)


def main() -> None:
    options = parsed()
    model = random_model(options.shape, device=options.device)
    users = options.counts or [number for number in USERS if number <= options.users]
    size = {"people": max(*users, WITH_PICTURES), "tokens": max(*options.tokens, PICTURE_PROMPT) + options.new}
    headline = [Headline("ready_first_answer", *first_answer(model, **size), "s")]
    details: dict[str, Any] = {"shape": options.shape, "tokens": options.tokens[0], "visual": options.visual}
    unmeasured = [] if options.gpu or options.pictures else [NO_PICTURES]
    with ways.engine_over(model, **size) as engine:
        found = measured(engine, users, options, options.tokens[0])
        print(f"Tokens a second of all users together: {options.shape}, {options.device}; {options.new} new\n")
        print(f"Prompts of {options.tokens[0]} tokens:\n\n{shown(found)}")
        headline = summary(found, options) + headline
        for tokens in options.tokens[1:]:
            longer = measured(engine, users[-1:], options, tokens)
            print(f"\nPrompts of {tokens} tokens:\n\n{shown(longer)}")
            ((number, (ours, other)),) = longer.items()
            headline.append(Headline(f"users_{number}_of_{tokens}", ours.tokens, other.tokens, "tokens/s"))
        if not unmeasured:
            headline.append(Headline("first_token_16_pictures", *with_pictures(engine, options), "s"))
    details["by_users"] = {
        n: {"ours": ours.tokens, "other": other.tokens, "first": ours.first, "other_first": other.first}
        for n, (ours, other) in found.items()
    }
    finish(options, "users", headline, details=details, unmeasured=unmeasured)


if __name__ == "__main__":
    main()
