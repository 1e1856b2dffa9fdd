"""The thinking budget, as a rule: once the budget is spent and the thought has not ended, the early-stop text is
forced, token by token, and the answer follows. Its one state is that somebody wants the thought to end now. Knows
generated ids only.

Gives the tokens of the original's two generate calls (AIDC-AI/Ovis2.5, `generate` with a thinking budget) in one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


def resumed(budget: int, begun: Sequence[int], early_stop: Sequence[int]) -> int:
    """The budget of a thought that goes on behind the tokens `begun`. One that was being cut short goes on being cut;
    one that is past its budget is cut at once."""
    most = min(len(begun), len(early_stop))
    forced = next((n for n in range(most, 0, -1) if [*begun[-n:]] == [*early_stop[:n]]), 0)
    if forced and (forced > 1 or len(begun) - forced >= budget):
        return len(begun) - forced
    return max(budget, len(begun))


class ThinkingBudget(LogitsProcessor):
    """`budget` tokens of thought, then `early_stop` ids, unless `think_end` came first. For prompts given as
    embeddings, where input_ids hold generated tokens alone."""

    def __init__(self, *, budget: int, early_stop: list[int], think_end: int) -> None:
        self.budget, self.early_stop, self.think_end = budget, early_stop, think_end
        self._ends = False

    @property
    def forced_until(self) -> int:
        """Generated length at which the forced text is complete."""
        return self.budget + len(self.early_stop)

    def longest(self, limit: int, begun: int = 0) -> int:
        """How many new tokens there are at most where `limit` are wanted and the answer has `begun`: a forced text is
        finished, even past the limit."""
        return max(limit, self.forced_until - begun) if self.budget - begun <= limit else limit

    def end_now(self) -> None:
        """The budget is as if it were spent with the next token that is chosen. From any thread."""
        self._ends = True

    def settle(self, length: int) -> None:
        """Before the token behind so many is chosen: a thought that is to end now has no more budget than those."""
        if self._ends and length:
            self.budget = min(self.budget, length)

    def forced(self, generated: Sequence[int]) -> int | None:
        """The token that must follow `generated`; None where the scores decide."""
        place = len(generated) - self.budget
        if not 0 <= place < len(self.early_stop) or self.think_end in generated[: self.budget]:
            return None
        return self.early_stop[place]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` [batch, vocabulary] with all but the forced token at -inf in rows whose budget is spent."""
        self.settle(input_ids.shape[1])
        for row, generated in enumerate(input_ids.tolist()):
            token = self.forced(generated)
            if token is not None:
                scores[row] = torch.finfo(scores.dtype).min
                scores[row, token] = 0
        return scores
