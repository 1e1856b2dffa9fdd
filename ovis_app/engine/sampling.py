"""The sampler: each sequence's next token, greedy or drawn by its own temperature, top-k, top-p, penalty and seed.

A draw's random number comes from the request's seed and the token's place in the answer alone, so that a seed gives the
same answer whoever else is being answered. Knows scores; refuses to know sequences, models and readers.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor

from ovis_app.generation import GenerationSettings

COLD = 0.01  # temperatures below this are greedy: logits over them would overflow
FEW, LIKELY = 64, 1024  # tokens that a draw on a CPU looks at first, and then, before it looks at all


@dataclass(frozen=True)
class Draw:
    """How one request draws. A temperature of 0 is greedy; a top_k of 0 is none."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    @classmethod
    def of(cls, settings: GenerationSettings) -> Draw:
        if settings.temperature < COLD:
            return cls()
        seed = secrets.randbits(32) if settings.seed is None else settings.seed
        return cls(settings.temperature, settings.top_k, settings.top_p, seed)

    @property
    def greedy(self) -> bool:
        return self.temperature < COLD

    def number(self, position: int) -> float:
        """The random number in [0, 1) for the answer's token `position`, exact in float32."""
        digest = hashlib.blake2b(f"{self.seed} {position}".encode(), digest_size=3).digest()
        return int.from_bytes(digest) / 2**24


@dataclass(frozen=True)
class Choice:
    """What decides one sequence's next token beside its scores."""

    draw: Draw
    generated: Sequence[int]  # ids of the answer so far
    penalty: float = 1.0  # of what was generated (https://arxiv.org/abs/1909.05858)
    forced: int | None = None  # the token that a rule wants, whatever the scores say


@torch.inference_mode()
def choose(scores: Tensor, choices: Sequence[Choice]) -> list[int]:
    """A token for each row of `scores` [rows, vocabulary] in float32, which it may change. One that draws gets the same
    token in any company: its random number comes from its seed and its place in the answer."""
    for row, choice in enumerate(choices):
        if choice.penalty != 1.0 and choice.generated:
            penalize(scores[row], choice.generated, choice.penalty)
    if all(choice.draw.greedy for choice in choices):
        tokens: list[int] = scores.argmax(-1).tolist()
    else:
        tokens = _mixed(scores, [choice.draw for choice in choices], [len(choice.generated) for choice in choices])
    return [token if choice.forced is None else choice.forced for token, choice in zip(tokens, choices, strict=True)]


def penalize(scores: Tensor, generated: Sequence[int], penalty: float) -> None:
    """Makes what was generated less likely in `scores` [vocabulary], in place, each id once."""
    ids = torch.tensor(sorted(set(generated)), device=scores.device)
    values = scores[ids]
    scores[ids] = torch.where(values < 0, values * penalty, values / penalty)


def _mixed(scores: Tensor, draws: Sequence[Draw], positions: Sequence[int]) -> list[int]:
    device = scores.device
    numbers = [draw.number(position) for draw, position in zip(draws, positions, strict=True)]
    rows = [[draw.temperature for draw in draws], [draw.top_p for draw in draws], numbers]
    temperature, top_p, random = torch.tensor(rows, dtype=torch.float32).to(device)
    top_k = torch.tensor([draw.top_k for draw in draws]).to(device)
    words = scores.shape[-1]
    most = max(min(draw.top_k or words, words) for draw in draws if not draw.greedy)
    token = drawn(scores, temperature, top_k, top_p, random, most)
    chosen: list[int] = torch.where(temperature > 0, token, scores.argmax(-1)).tolist()
    return chosen


class Drawing(LogitsProcessor):
    """Draws as `choose` does, for `generate` of transformers. The last of its processors."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` [1, vocabulary] after the generated ids [1, tokens], with the chosen token's at infinity."""
        token = _mixed(scores, [self.draw], [input_ids.shape[1]])
        return scores.index_fill(1, torch.tensor(token, device=scores.device), torch.inf)


def drawn(scores: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, random: Tensor, most: int) -> Tensor:
    """A token [rows] for each row of `scores` [rows, vocabulary], by temperature, then top-k, then top-p, in the order
    of transformers' generate, among the `most` likeliest. Its random number picks the place in the cumulative
    distribution."""
    scores = scores / temperature.clamp(min=COLD)[:, None]
    tries = [likely for likely in (FEW, LIKELY) if likely < most] if scores.device.type == "cpu" else []
    total = scores.logsumexp(-1, keepdim=True) if tries else None
    for likely in tries:  # to sort a whole vocabulary takes a processor very long
        token, sure = _among(scores, top_k, top_p, random, likely, total)
        if bool(sure.all()):
            return token
    return _among(scores, top_k, top_p, random, most)[0]


def _among(
    scores: Tensor, top_k: Tensor, top_p: Tensor, random: Tensor, most: int, total: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A token [rows] among the `most` likeliest, and whether it is certainly the one [rows] where more could be drawn:
    `total` [rows, 1] is then the logarithm of what the distribution sums to, for rows without top-k."""
    free, top_p, random = top_k[:, None] == 0, top_p[:, None], random[:, None]
    scores, tokens = scores.topk(most)
    kept = free | (torch.arange(most, device=scores.device) < top_k[:, None])
    scores = scores.masked_fill(~kept, -torch.inf)
    own = scores.logsumexp(-1, keepdim=True)
    chances = (scores - (own if total is None else torch.where(free, total, own))).exp()
    cumulative = chances.cumsum(-1)
    beyond = (cumulative - chances >= top_p) & (top_p < 1)
    beyond[:, 0] = False
    nucleus = chances.masked_fill(beyond, 0.0).cumsum(-1)
    mass = torch.where(top_p < 1, nucleus[:, -1:], 1.0)
    place = (nucleus <= random * mass).sum(-1, keepdim=True).clamp(max=most - 1)
    reached = torch.where(free, cumulative[:, -1:] > torch.where(top_p < 1, top_p, random), top_k[:, None] <= most)
    return tokens.gather(1, place).squeeze(1), reached.squeeze(1)
