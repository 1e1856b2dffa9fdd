"""How sure transformers' `generate` was of each token that it chose, so that only what it was sure of is compared.

Two ways to compute the same scores differ in their last digits; where two tokens are as good as equal, or a draw falls
on the boundary between two, either is right. Knows scores; refuses to know engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ovis_app.engine.sampling import COLD, Draw
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.generation import GenerationSettings
from tests.engine.prompts import Tiny, Written

SURE = 1e-4  # what is asked for is 1e-3; less compares more


@dataclass(frozen=True)
class Plain:
    """An answer of `generate`, and its margin at each token."""

    ids: list[int]
    margins: list[float]


class Noting(ThinkingBudget):
    """A budget, or none, that notes the margins of the scores that pass by: those after the penalty."""

    def __init__(self, budget: ThinkingBudget | None, draw: Draw) -> None:
        self.inner, self.draw, self.margins = budget, draw, list[float]()
        self.budget = 0 if budget is None else budget.budget

    @property
    def forced_until(self) -> int:
        return 0 if self.inner is None else self.inner.forced_until

    def forced(self, generated: Sequence[int]) -> int | None:
        return None if self.inner is None else self.inner.forced(generated)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        forced = self.forced(input_ids[0].tolist()) is not None
        self.margins.append(float("inf") if forced else margin(scores[0], self.draw, input_ids.shape[1]))
        return scores if self.inner is None else self.inner(input_ids, scores)


def asked_plainly(
    small: Tiny, written: Written, settings: GenerationSettings, budget: ThinkingBudget | None = None
) -> Plain:
    noting = Noting(budget, Draw.of(settings))
    ids = small.plain(written, settings, noting)
    return Plain(ids, noting.margins[: len(ids)])


def margin(scores: Tensor, draw: Draw, position: int) -> float:
    """How far the choice among `scores` [vocabulary] is from another one: in scores, or in probability for a draw from
    its boundaries."""
    if draw.greedy:
        best = scores.topk(2).values
        return float(best[0] - best[1])
    ordered = (scores.double() / max(draw.temperature, COLD)).sort(descending=True).values
    count = draw.top_k or len(ordered)
    found = [float(ordered[count - 1] - ordered[count])] if count < len(ordered) else []
    chances = ordered[:count].softmax(-1)
    before = chances.cumsum(-1) - chances
    if draw.top_p < 1:
        found.append(float((before - draw.top_p).abs().min()))
        chances = chances[(before < draw.top_p) | (torch.arange(len(before)) == 0)]
    random = draw.number(position) * float(chances.sum())
    ends = chances.cumsum(-1)
    place = min(int((ends <= random).sum()), len(ends) - 1)
    if place + 1 < len(ends):  # the last one's end is nobody else's beginning
        found.append(float(ends[place]) - random)
    if place:
        found.append(random - float(ends[place - 1]))
    around = ordered[max(place - 1, 0) : place + 2]  # those that are as likely might change places
    return min([*found, float((around[:-1] - around[1:]).min())])


@dataclass
class Tally:
    """How many tokens were compared, and how many weren't, since `generate` itself was not sure."""

    compared: int = 0
    left_out: int = 0

    def compare(self, answer: Sequence[int], expected: Plain, *, whole: bool = True) -> None:
        """Asserts that an answer is the expected one, as far as that was sure; or, not `whole`, the beginning of it."""
        wanted = expected.ids if whole else expected.ids[: len(answer)]
        for place, (token, margin) in enumerate(zip(wanted, expected.margins, strict=False)):
            if answer[place : place + 1] == [token]:
                self.compared += 1
                continue
            assert margin <= SURE, f"token {place} of {len(wanted)}, margin {margin}: {answer} is not {wanted}"
            self.left_out += len(wanted) - place
            return
        assert len(answer) == len(wanted), f"{answer} is longer than {wanted}"

    @property
    def share(self) -> float:
        return self.left_out / max(self.compared + self.left_out, 1)

    def __str__(self) -> str:
        return f"{self.compared:,} tokens compared, {self.left_out} ({self.share:.2%}) left out"
