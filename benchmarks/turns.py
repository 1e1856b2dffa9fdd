"""Seconds to the first token as a conversation grows: `python -m benchmarks.turns`.

Ours is the app's backend, which remembers encoded pictures and attention. The other way is the original's: every turn,
every picture is opened and encoded again and everything is read again. Same random weights, same questions, one run.
Then the longest gap in another person's stream while a long prompt with pictures is read: the other way reads it in one
piece, as long as which the stream would stand still.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.plain import Plain
from benchmarks.report import Headline, arguments, finish, table
from benchmarks.shapes import checkpoint, device_of
from benchmarks.talk import backend, conversation, first_token, pictures, question
from ovis_app import zoo
from ovis_app.backend import Backend
from ovis_app.backends.local.model_pool import loaded_model
from ovis_app.backends.local.session import Session
from ovis_app.checkpoints.placement import Placement
from ovis_app.conversation import Conversation
from ovis_app.engine.streamer import TokenStreamer
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.stop import Stop

GROWTH = (1, 2, 4, 8, 16)  # turns
SIZES = (64, 256, 784, 1568, 3136, 6272)  # visual tokens
COLUMNS = ("ratio", "ours, s", "everything again, s")
STREAM = GenerationSettings(max_new_tokens=4096)  # of who is answered meanwhile; taken back at the end
BEFORE = 8  # tokens of that stream before the long prompt comes
TRIES = 5  # since random weights may end an answer at any time


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


class ClockedStreamer(TokenStreamer):
    """Notes when each token came, as time.perf_counter()."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def put(self, value: Tensor) -> None:
        self.times += [time.perf_counter()] * value.numel()
        super().put(value)


def answer(
    session: Session, talk: Conversation, settings: GenerationSettings, heard: TokenStreamer, stop: Stop
) -> None:
    """One question from its files to its last token, in this thread."""
    prepared = session.prepare(Request(talk, settings), heard, stop)
    session.answer(prepared, heard, stop, begin=lambda: None, started=time.monotonic())


def longest_gap(session: Session, talk: Conversation, seed: int) -> float | None:
    """Seconds between two tokens of somebody's stream, at most, from when `talk` is asked to its first token. None
    where the stream ended before."""
    stream, stop = ClockedStreamer(), Stop()
    reader = threading.Thread(target=answer, args=(session, conversation(1, (), seed=seed), STREAM, stream, stop))
    reader.start()
    try:
        while len(stream.times) < BEFORE and reader.is_alive():
            time.sleep(0.001)
        begin = time.perf_counter()
        answer(session, talk, GenerationSettings(max_new_tokens=1), TokenStreamer(), Stop())
        end = time.perf_counter()
        lives = reader.is_alive()
    finally:
        stop.set()
        reader.join()
    gaps = [after - before for before, after in itertools.pairwise(stream.times) if after > begin and before < end]
    return max(gaps) if lives and gaps else None


def gap_while_prefill(ways: Ways, session: Session, tokens: int, repeats: int) -> tuple[float, float]:
    """The median of longest gaps while a prompt with pictures of `tokens` visual tokens is read, and the seconds that
    the plain way takes to read it."""
    gaps: list[float] = []
    for seed in range(201, 201 + repeats + TRIES):
        talk = conversation(1, pictures(ways.folder, tokens, seed), seed=seed)
        gap = longest_gap(session, talk, 1000 + seed)
        gaps += [] if gap is None else [gap]
        if len(gaps) == repeats:
            break
    if not gaps:
        raise RuntimeError("every stream ended by itself before the long prompt was read")
    start = time.perf_counter()
    ways.plain.answer(talk)
    return statistics.median(gaps), time.perf_counter() - start


@contextmanager
def session_over(folder: Path, device: str) -> Iterator[Session]:
    """What the backend answers with, over the model that it has loaded."""
    spec = zoo.resolve(str(folder))
    loaded = loaded_model(spec, Placement.choose(spec, device=device))
    session = Session(loaded, Settings(model=str(folder), device=device), Limits())
    try:
        yield session
    finally:
        session.close()


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
    parser.add_argument("--gap-tokens", type=int, default=6272, help="visual tokens that are read beside a stream")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    turns = [turn for turn in GROWTH if turn <= options.turns]
    sizes = [size for size in SIZES if size <= options.most_tokens]
    device = device_of(options.device)
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    with tempfile.TemporaryDirectory() as made:
        folder = checkpoint(options.shape, Path(made) / f"random-{options.shape}", device=device)
        plain = Plain(folder, device=device, dtype=dtype)  # first: the backend plans with the memory that is left
        with backend(folder, device=device) as ours:
            ways = Ways(ours, plain, Path(made))
            ways.seconds(conversation(1, pictures(ways.folder, 64, 0)))  # nobody's first use of a kernel is measured
            second = medians([second_turn(ways, options.tokens, seed) for seed in range(1, options.repeats + 1)])
            growth = by_turns(ways, options.tokens, turns, seed=91)
            breadth = by_tokens(ways, sizes, seed=92)
        with session_over(folder, device) as session:
            gap = gap_while_prefill(ways, session, options.gap_tokens, options.repeats)
    print(f"Seconds to the first token: shape {options.shape}, {device}")
    print(f"\nBy turn, {options.tokens:,} visual tokens in the first:\n\n{table(('turn', *COLUMNS), rows(growth))}")
    print(f"\nOf turn 2, by visual tokens:\n\n{table(('visual tokens', *COLUMNS), rows(breadth))}")
    headline = [Headline(name, ours, other, "s") for name, (ours, other) in second.items()]
    headline.append(Headline("gap_while_prefill", *gap, "s"))
    details: dict[str, Any] = {"shape": options.shape, "visual_tokens": options.tokens, "by_turns": growth}
    details |= {"by_visual_tokens": breadth, "gap_visual_tokens": options.gap_tokens}
    finish(options, "turns", headline, details=details)


if __name__ == "__main__":
    main()
