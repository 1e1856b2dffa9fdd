"""The thinking budget, as a rule without state: once the budget is spent and the thought has not ended,
the early-stop text is forced, token by token, and the answer follows. Knows generated ids only.

Gives the tokens of the original's two generate calls (AIDC-AI/Ovis2.5, `generate` with a thinking budget) in one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class ThinkingBudget(LogitsProcessor):
    """`budget` tokens of thought, then `early_stop` ids, unless `think_end` came first. For prompts given as
    embeddings, where input_ids hold generated tokens alone."""

    def __init__(self, *, budget: int, early_stop: list[int], think_end: int) -> None:
        self.budget, self.early_stop, self.think_end = budget, early_stop, think_end

    @property
    def forced_until(self) -> int:
        """Generated length at which the forced text is complete."""
        return self.budget + len(self.early_stop)

    def forced(self, generated: Sequence[int]) -> int | None:
        """The token that must follow `generated`; None where the scores decide."""
        place = len(generated) - self.budget
        if not 0 <= place < len(self.early_stop) or self.think_end in generated[: self.budget]:
            return None
        return self.early_stop[place]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` [batch, vocabulary] with all but the forced token at -inf in rows whose budget is spent."""
        for row, generated in enumerate(input_ids.tolist()):
            token = self.forced(generated)
            if token is not None:
                scores[row] = torch.finfo(scores.dtype).min
                scores[row, token] = 0
        return scores
