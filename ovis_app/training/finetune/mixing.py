"""Old samples among new ones, so that what a model knew isn't forgotten: which, and how many.

Knows shares. Refuses to know how samples are read.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ovis_app.errors import DataError
from ovis_app.training.finetune.samples import Sample

SHARE = 0.2  # of what is learnt from, where nobody says how much
NONE, OWN = "none", "mini"  # words in place of a file


@dataclass(frozen=True)
class Mix:
    """Old samples of a file, or drawn by Ovis-mini's own world (OWN): `share` is their part of all samples."""

    source: str
    share: float = SHARE

    @classmethod
    def parse(cls, text: str) -> Mix:
        """From FILE or FILE:SHARE. Raises DataError."""
        source, colon, number = text.rpartition(":")
        if not colon or not source:
            return cls(text)
        try:
            share = float(number)
        except ValueError:
            return cls(text)  # a colon within a name
        if not 0 < share < 1:
            raise DataError(f"--mix {text}: a share is the old samples' part of all, above 0 and below 1, as {SHARE}.")
        return cls(source, share)


def chosen(wanted: Sequence[str], *, own: bool) -> tuple[Mix, ...]:
    """What is mixed in: what was asked for or, where nothing was and the model has a world of its `own`, some of that.
    Raises DataError."""
    if NONE in wanted:
        if len(wanted) > 1:
            raise DataError("--mix none goes with no other --mix: leave one of them out.")
        return ()
    mixes = tuple(map(Mix.parse, wanted)) or ((Mix(OWN),) if own else ())
    if any(mix.source == OWN for mix in mixes) and not own:
        raise DataError(f"--mix {OWN} is for Ovis-mini, whose questions can be drawn: name a file of old samples.")
    if sum(mix.share for mix in mixes) >= 0.95:
        raise DataError("The shares of --mix leave less than a twentieth for what is new: lower them.")
    return mixes


def wanted_number(new: int, mix: Mix, mixes: Sequence[Mix]) -> int:
    """How many old samples a mix brings to so many new ones, so that shares are of all that is learnt from."""
    return max(round(new * mix.share / (1 - sum(one.share for one in mixes))), 1)


def picked(old: Sequence[Sample], number: int, *, seed: int) -> tuple[Sample, ...]:
    """So many of the old samples, by chance; where there are fewer, each about as often as the others."""
    rng, found = random.Random(f"mix {seed}"), list[Sample]()
    while len(found) < number:
        found += rng.sample(list(old), min(len(old), number - len(found)))
    return tuple(found)


def held_out(samples: Sequence[Sample], share: float, *, seed: int) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Samples to learn from, and those by which it is judged how well: a share of them, by chance, in order."""
    most = len(samples) - 1
    number = min(max(round(len(samples) * share), 1), most) if share else 0
    places = set(random.Random(f"validation {seed}").sample(range(len(samples)), number))
    learnt = tuple(sample for place, sample in enumerate(samples) if place not in places)
    return learnt, tuple(sample for place, sample in enumerate(samples) if place in places)


def epochs(learnt: Sequence[Sample], old: Sequence[Sample], turns: int, *, seed: int) -> tuple[tuple[Sample, ...], ...]:
    """What each of so many epochs learns from: all that is new and, in the same places, its own part of the old
    samples, of each file as many. One where there are none of these."""
    each = math.ceil(len(old) / turns)
    order = list(range(len(learnt) + each))
    random.Random(f"order {seed}").shuffle(order)
    found = []
    for turn in range(turns if old else 1):
        every = [*learnt, *[*old[turn::turns], *old][:each]]
        found.append(tuple(every[place] for place in order))
    return tuple(found)


def others(training: Sequence[Sample], later: Sequence[Sequence[Sample]]) -> tuple[Sample, ...]:
    """What later epochs learn from and the first one doesn't, each sample once."""
    known = set(training)
    return tuple(dict.fromkeys(sample for epoch in later for sample in epoch if sample not in known))
