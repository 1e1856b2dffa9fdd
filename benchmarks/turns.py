"""Seconds to the first token as a conversation grows: `python -m benchmarks.turns`.

Ours is the app's backend, which remembers encoded pictures and attention. The other way is the original's: every turn,
every picture is opened and encoded again and everything is read again. Same random weights, same questions, one run.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.plain import Plain
from benchmarks.report import Headline, arguments, finish, table
from benchmarks.shapes import checkpoint, device_of
from benchmarks.talk import backend, conversation, first_token, pictures, question
from ovis_app.backend import Backend
from ovis_app.conversation import Conversation

GROWTH = (1, 2, 4, 8, 16)  # turns
SIZES = (64, 256, 784, 1568, 3136, 6272)  # visual tokens
COLUMNS = ("ratio", "ours, s", "everything again, s")


@dataclass(frozen=True)
class Ways:
    """The two ways to answer, over the same weights, and where made-up pictures lie."""

    ours: Backend
    plain: Plain
    folder: Path

    def seconds(self, talk: Conversation) -> tuple[float, float]:
        """To the first token: ours, then the plain way's."""
        ours = first_token(self.ours, talk)
        start = time.perf_counter()
        self.plain.answer(talk)
        return ours, time.perf_counter() - start


def second_turn(ways: Ways, tokens: int, seed: int) -> dict[str, tuple[float, float]]:
    """Both ways' seconds for turn 2, for its regeneration, and for another question in its place."""
    talk = conversation(2, pictures(ways.folder, tokens, seed), seed=seed)
    first_token(ways.ours, talk.until(1))
    edited = talk.until(2).add(question(seed + 77))
    return {
        "first_token_turn_2": ways.seconds(talk),
        "first_token_regenerate": ways.seconds(talk),
        "first_token_edit": ways.seconds(edited),
    }


def by_turns(ways: Ways, tokens: int, turns: Sequence[int], seed: int) -> dict[int, tuple[float, float]]:
    """Both ways' seconds at each of `turns`; ours lives through all of them."""
    media = pictures(ways.folder, tokens, seed)
    found = {}
    for turn in range(1, max(turns) + 1):
        talk = conversation(turn, media, seed=seed)
        if turn in turns:
            found[turn] = ways.seconds(talk)
        else:
            first_token(ways.ours, talk)
    return found


def by_tokens(ways: Ways, sizes: Sequence[int], seed: int) -> dict[int, tuple[float, float]]:
    """Both ways' seconds of turn 2, by visual tokens."""
    found = {}
    for size in sizes:
        talk = conversation(2, pictures(ways.folder, size, seed), seed=seed)
        first_token(ways.ours, talk.until(1))
        found[size] = ways.seconds(talk)
    return found


def medians(runs: Sequence[dict[Any, tuple[float, float]]]) -> dict[Any, tuple[float, float]]:
    """The median of each figure over runs of the same keys."""
    return {key: tuple(statistics.median(run[key][way] for run in runs) for way in (0, 1)) for key in runs[0]}  # type: ignore[misc]


def rows(found: dict[int, tuple[float, float]]) -> list[tuple[Any, ...]]:
    """A table's rows: key, ratio, ours, other."""
    return [(key, f"{other / ours:.3g} x", ours, other) for key, (ours, other) in found.items()]


def main() -> None:
    parser = arguments(__doc__, shape="44m")
    parser.add_argument("--tokens", type=int, default=1024, help="visual tokens of the first question's picture")
    parser.add_argument("--turns", type=int, default=16, help="how long a conversation grows")
    parser.add_argument("--most-tokens", type=int, default=6272, help="how many visual tokens are tried")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    turns = [turn for turn in GROWTH if turn <= options.turns]
    sizes = [size for size in SIZES if size <= options.most_tokens]
    device = device_of(options.device)
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    with tempfile.TemporaryDirectory() as made:
        folder = checkpoint(options.shape, Path(made) / f"random-{options.shape}", device=device)
        with backend(folder, device=device) as ours:
            ways = Ways(ours, Plain(folder, device=device, dtype=dtype), Path(made))
            ways.seconds(conversation(1, pictures(ways.folder, 64, 0)))  # nobody's first use of a kernel is measured
            second = medians([second_turn(ways, options.tokens, seed) for seed in range(1, options.repeats + 1)])
            growth = by_turns(ways, options.tokens, turns, seed=91)
            breadth = by_tokens(ways, sizes, seed=92)
    print(f"Seconds to the first token: shape {options.shape}, {device}")
    print(f"\nBy turn, {options.tokens:,} visual tokens in the first:\n\n{table(('turn', *COLUMNS), rows(growth))}")
    print(f"\nOf turn 2, by visual tokens:\n\n{table(('visual tokens', *COLUMNS), rows(breadth))}")
    goals = {"first_token_turn_2": None}
    headline = [Headline(name, ours, other, "s", goals.get(name)) for name, (ours, other) in second.items()]
    details = {"shape": options.shape, "visual_tokens": options.tokens, "by_turns": growth, "by_visual_tokens": breadth}
    finish(options, "turns", headline, details=details)


if __name__ == "__main__":
    main()
