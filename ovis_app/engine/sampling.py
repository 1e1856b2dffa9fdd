"""How a request chooses its next token: greedy, or drawn by its own temperature, top-k, top-p and seed.

The paged engine's own processors draw for all requests or for none, from one generator. Here each draw's random number
comes from the request's seed and the token's position alone, so that a seed gives the same answer whoever else is
being answered, and by whichever engine. Knows scores; refuses to know requests beyond their `draw`.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from ovis_app.generation import GenerationSettings

COLD = 0.01  # temperatures below this are greedy: logits over them would overflow
MOST = 1024  # tokens that a draw on a GPU chooses among: its shapes are fixed
LIKELY = 1024  # tokens that a draw on a CPU looks at before it looks at all


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

    def number(self, position: int) -> float:
        """The random number in [0, 1) for the token at `position`, exact in float32."""
        digest = hashlib.blake2b(f"{self.seed} {position}".encode(), digest_size=3).digest()
        return int.from_bytes(digest) / 2**24


class Draws:
    """Stands in for the paged engine's `ContinuousBatchingLogitsProcessorList`, with its names. Four rows of numbers
    for each token that is computed: temperature, top-p and the random number in float32, and top-k."""

    tensors_required = 4
    do_processing = True

    def __init__(self, most: int | None) -> None:
        """`most` candidates for a draw; None takes as many as the requests at hand need."""
        self.most = most

    def check_kwargs(self, kwargs: dict[str, Any]) -> None:
        """Raises TypeError when a request came without its Draw."""
        if kwargs and not isinstance(kwargs.get("draw"), Draw):
            raise TypeError("a request's draw must be a Draw")

    def fill_defaults(self, numbers: Tensor) -> None:
        numbers.zero_()

    def prepare_tensor_args(self, requests_in_batch: list[Any], arg_storage: Tensor) -> Tensor:
        """Writes the numbers of all requests that get a token into `arg_storage` [4, tokens], int32."""
        states = [request.state for request in requests_in_batch if request.has_new_token]
        draws = [(state.logit_processor_kwargs.get("draw", Draw()), state.position_offset) for state in states]
        real = torch.tensor(
            [[draw.temperature, draw.top_p, draw.number(position)] for draw, position in draws], dtype=torch.float32
        ).reshape(-1, 3)
        whole = torch.tensor([[draw.top_k] for draw, _ in draws], dtype=torch.int32).reshape(-1, 1)
        numbers = torch.cat([real.view(torch.int32), whole], dim=1).T
        arg_storage[:, : len(states)] = numbers.to(arg_storage.device)
        return arg_storage

    def __call__(self, input_ids: Tensor, scores: Tensor, numbers: Tensor) -> Tensor:
        """`scores` [tokens, vocabulary] with the chosen token's at infinity: the engine takes the largest."""
        temperature, top_p, random = (row.view(torch.float32) for row in numbers[:3, : len(scores)])
        top_k = numbers[3, : len(scores)]
        if scores.device.type == "cpu" and not bool((temperature > 0).any()):
            return scores
        most = scores.shape[-1] if self.most is None else min(self.most, scores.shape[-1])
        token = drawn(scores, temperature, top_k, top_p, random, most)
        chosen = torch.where(temperature > 0, token, scores.argmax(-1))
        return scores.scatter(1, chosen[:, None], torch.inf)


class Drawing(LogitsProcessor):
    """Draws as `Draws` does, for one request alone. The last of its processors."""

    def __init__(self, draw: Draw, prompt: int) -> None:
        """`prompt` tokens come before what is generated."""
        self.draw, self.prompt = draw, prompt

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` [1, vocabulary] after the generated ids [1, tokens], with the chosen token's at infinity."""
        draw, device = self.draw, scores.device
        values = (draw.temperature, draw.top_p, draw.number(self.prompt + input_ids.shape[1]))
        temperature, top_p, random = (torch.full((1,), value, device=device) for value in values)  # float32
        top_k = torch.full((1,), draw.top_k, device=device)
        most = min(draw.top_k or scores.shape[-1], scores.shape[-1])
        token = drawn(scores, temperature, top_k, top_p, random, most)
        return scores.scatter(1, token[:, None], torch.inf)


def drawn(scores: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, random: Tensor, most: int) -> Tensor:
    """A token [rows] for each row of `scores` [rows, vocabulary], by temperature, then top-k, then top-p, in the order
    of transformers' generate, among the `most` likeliest. Its random number picks the place in the cumulative
    distribution."""
    scores = scores / temperature.clamp(min=COLD)[:, None]
    if most > LIKELY and scores.device.type == "cpu":  # to sort a whole vocabulary takes a processor very long
        token, sure = _among(scores, top_k, top_p, random, LIKELY, scores.logsumexp(-1, keepdim=True))
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
