"""A throw-away linear probe inside the language model: which image a visual token belongs to, and what an image showed.

It teaches the lower layers to number the images and to sum each up where it ends, which comparing and finding need and
answers alone teach slowly. Knows numbers of names; refuses to know tokens and scenes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGES, MOST, NAMES = 16, 10, 32  # images of a conversation, shapes of an image and one, kinds in all colors

Shown = frozenset[int]  # the names that an image shows, by number; as many as it has shapes


class Summary(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(hidden)
        self.number, self.count, self.names = (nn.Linear(hidden, size) for size in (IMAGES, MOST, NAMES))

    def loss(
        self, seen: Tensor, numbers: Tensor, ends: Tensor, shown: Sequence[Shown]
    ) -> tuple[Tensor, dict[str, float]]:
        """`seen` [tokens, hidden] are states inside images `numbers`, from 1; `ends` [images, hidden] are those at the
        end of each image and `shown` what they show."""
        told = self.number(self.norm(seen)).float()
        last = self.norm(ends)
        counts = torch.tensor([min(len(names), MOST - 1) for names in shown])
        there = torch.tensor([[float(name in names) for name in range(NAMES)] for names in shown])
        count, names = self.count(last).float(), self.names(last).float()
        number_loss = F.cross_entropy(told, (numbers - 1).clamp(max=IMAGES - 1))
        loss = number_loss + F.cross_entropy(count, counts) + 2 * F.binary_cross_entropy_with_logits(names, there)
        measures = {
            "number": (told.argmax(1) == numbers - 1).float().mean().item(),
            "counted": (count.argmax(1) == counts).float().mean().item(),
            "named": ((names > 0) == (there > 0)).all(1).float().mean().item(),
        }
        return loss, measures
