"""Seconds to the first token as a conversation grows: `python -m benchmarks.turns`.

Ours (encoded pictures and attention remembered) beside the original way (everything encoded and read again each turn),
the same random model, in one run. A picture of `--tokens` visual tokens comes with the first question.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from benchmarks.shapes import SHAPES, random_model
from ovis_app.engine import solo
from ovis_app.engine.prefix import PrefixStore
from ovis_app.generation import GenerationSettings
from ovis_app.models.ovis import Ovis
from ovis_app.models.prompt import VISUAL_ATOM

QUESTION, ANSWER = 24, 16  # tokens of each
ENDING = solo.Ending((8191,), 0)
FIRST = GenerationSettings(max_new_tokens=1)
WHOLE = GenerationSettings(max_new_tokens=ANSWER)


def course(model: Ovis, pixels: torch.Tensor, grid: tuple[int, int, int], turns: int, *, remember: bool) -> list[float]:
    """Seconds to the first token of each turn."""
    store = PrefixStore(limit=1 << 32)
    generator = torch.Generator().manual_seed(1)
    ids = [-301, *[VISUAL_ATOM] * (len(pixels) // 4), -302]
    seconds: list[float] = []
    visual: torch.Tensor | None = None
    for _ in range(turns):
        ids += torch.randint(1, 8000, (QUESTION,), generator=generator).tolist()
        start = time.perf_counter()
        if visual is None or not remember:
            with torch.inference_mode():
                visual = model.encode(pixels, [grid])
        embeddings = solo.embeddings(model, torch.tensor(ids), visual)
        cache, _ = store.take(tuple(ids), model.config.llm_config)
        first = solo.generate(model, embeddings, FIRST, ending=ENDING, cache=cache).tolist()
        seconds.append(time.perf_counter() - start)
        if remember:
            store.keep((*ids, *first), cache)
        cache, _ = store.take(tuple(ids), model.config.llm_config)
        answer = solo.generate(model, embeddings, WHOLE, ending=ENDING, cache=cache).tolist()
        if remember:
            store.keep((*ids, *answer), cache)
        ids += answer
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="44m")
    parser.add_argument("--tokens", type=int, default=1024, help="visual tokens of the picture")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3, help="medians are of this many")
    options = parser.parse_args()
    model = random_model(options.shape)
    side = round(options.tokens**0.5) * 2
    grid, pixels = (1, side, side), torch.rand(side * side, 768) * 2 - 1
    ours, other = [], []
    for _ in range(options.repeats):
        other.append(course(model, pixels, grid, options.turns, remember=False))
        ours.append(course(model, pixels, grid, options.turns, remember=True))
    print(f"Seconds to the first token: {options.shape}, {side * side // 4} visual tokens\n")
    print("| turn | ratio | ours | everything again |\n|---|---|---|---|")
    for turn in range(options.turns):
        mine = statistics.median(run[turn] for run in ours)
        theirs = statistics.median(run[turn] for run in other)
        print(f"| {turn + 1} | {theirs / mine:.1f} x | {mine:.3f} | {theirs:.3f} |")


if __name__ == "__main__":
    main()
