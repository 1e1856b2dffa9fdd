"""Random loads: conversations that come, are edited, go on and are left, with what `generate` answers to each.

Knows prompts and settings; refuses to know engines.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cache

import torch

from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.generation import GenerationSettings
from tests.engine.margins import Plain, asked_plainly
from tests.engine.prompts import Tiny, Written, tiny

WAYS = [  # greedy, penalised, and drawn in several ways
    {},
    {},
    {"repetition_penalty": 1.4},
    {"repetition_penalty": 0.8, "temperature": 0.001},
    {"temperature": 0.7},
    {"temperature": 1.2, "top_k": 0, "top_p": 0.8},
    {"temperature": 1.5, "top_k": 5, "top_p": 1.0},
    {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "repetition_penalty": 1.3},
]
LENGTHS = (1, 5, 12, 24)


@dataclass(frozen=True)
class Ask:
    """One request of a load, and its answer by `generate`."""

    written: Written
    settings: GenerationSettings
    budget: ThinkingBudget | None
    begin: int  # the step before which it is asked
    leaves: int | None  # after so many tokens its reader is gone
    expected: Plain

    @property
    def tokens(self) -> int:
        """Of prompt and answer together at most."""
        forced = 0 if self.budget is None else self.budget.forced_until
        return len(self.written.ids) + max(self.settings.max_new_tokens, forced)


@cache
def random_load(family: str, seed: int, count: int) -> list[Ask]:
    """Up to twice `count` requests. Half of the conversations are asked again: regenerated, or with another question
    behind the answer."""
    small, rng, load = tiny(family), random.Random(seed), list[Ask]()
    for _ in range(count):
        written = small.written(small.random_turns(rng))
        load.append(_asked(family, written, rng, begin=rng.randrange(30)))
        if rng.random() < 0.5:
            said = load[-1].expected.ids
            more = rng.choice(["And then?", "Why is it so?", None])
            again = written if more is None else gone_on(small, written, said, more)
            load.append(_asked(family, again, rng, begin=load[-1].begin + rng.randrange(40)))
    return load


def _asked(family: str, written: Written, rng: random.Random, *, begin: int) -> Ask:
    settings = GenerationSettings(max_new_tokens=rng.choice(LENGTHS), seed=rng.randrange(3))
    settings = replace(settings, **rng.choice(WAYS))
    budget = None
    if rng.random() < 0.25:
        budget = ThinkingBudget(budget=rng.choice((3, 9)), early_stop=[31, 32, 33], think_end=rng.choice((40, 600)))
    leaves = rng.randrange(settings.max_new_tokens) if rng.random() < 0.2 else None
    return Ask(written, settings, budget, begin, leaves, asked_plainly(tiny(family), written, settings, budget))


def gone_on(small: Tiny, written: Written, answer: list[int], question: str) -> Written:
    """A conversation after an answer of these very tokens, with another question."""
    more = [*answer, *_words(small, question)]
    ids = torch.cat([written.ids, torch.tensor(more)])
    mask = torch.cat([written.mask, torch.ones(len(more), dtype=written.mask.dtype)])
    return Written(ids, mask, (*written.keys, *more), written.visual)


@cache
def _words(small: Tiny, question: str) -> list[int]:
    return small.written([(question, ())]).ids.tolist()
