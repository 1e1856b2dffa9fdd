"""Each request of a batch draws by its own rules: those of transformers' generate, and its own seed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from ovis_app.engine import sampling
from ovis_app.engine.sampling import Draw, Draws
from ovis_app.generation import GenerationSettings

VOCABULARY = 40
RULES = [
    Draw(1.0),
    Draw(0.7, top_k=5),
    Draw(1.3, top_p=0.8),
    Draw(2.0, top_k=20, top_p=0.95),
    Draw(0.3, top_k=1),
    Draw(5.0, top_k=3, top_p=0.01),
]


def scores(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3


def numbers(draws: Draws, asked: list[tuple[Draw, int]]) -> Tensor:
    """What the engine hands over for requests (their draw and the position of their token)."""
    requests = [
        SimpleNamespace(
            has_new_token=True,
            state=SimpleNamespace(logit_processor_kwargs={"draw": draw}, position_offset=position),
        )
        for draw, position in asked
    ]
    return draws.prepare_tensor_args(requests, torch.zeros(4, len(asked) + 3, dtype=torch.int32))


def chances(draw: Draw, row: Tensor) -> Tensor:
    """The distribution that generate draws from."""
    row = TemperatureLogitsWarper(float(draw.temperature))(None, row[None])
    if draw.top_k:
        row = TopKLogitsWarper(draw.top_k)(None, row)
    if draw.top_p < 1:
        row = TopPLogitsWarper(draw.top_p)(None, row)
    return row.softmax(-1)[0]


@pytest.mark.parametrize("draw", RULES)
@pytest.mark.parametrize("most", [None, 1024])
def test_tokens_come_as_often_as_generate_would_draw_them(draw: Draw, most: int | None) -> None:
    """Counted over numbers spread evenly over 0 to 1."""
    many, row, times = Draws(most), scores(1)[0], 4096
    asked = numbers(many, [(draw, position) for position in range(times)])
    asked[2, :times] = ((torch.arange(times) + 0.5) / times).view(torch.int32)
    tokens = many(torch.zeros(0), row.repeat(times, 1), asked).argmax(-1)
    counted = torch.bincount(tokens, minlength=VOCABULARY) / times
    assert torch.allclose(counted, chances(draw, row), atol=2 / times)


@pytest.mark.parametrize("draw", [*RULES, Draw(1.0, top_k=30), Draw(1.0, top_k=30, top_p=0.9)])
def test_what_is_drawn_among_the_likeliest_is_what_is_drawn_among_all(
    monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    """A vocabulary is sorted as a whole only where the likeliest don't decide."""
    looked: list[int] = []
    whole = Tensor.topk
    monkeypatch.setattr(Tensor, "topk", lambda self, most: looked.append(most) or whole(self, most))
    rows, asked = scores(300, seed=5), numbers(Draws(None), [(draw, position) for position in range(300)])
    tokens = []
    for likely in (VOCABULARY, 8):
        monkeypatch.setattr(sampling, "LIKELY", likely)
        tokens.append(
            [int(Draws(None)(torch.zeros(0), rows[i : i + 1], asked[:, i : i + 1]).argmax()) for i in range(300)]
        )
    assert tokens[0] == tokens[1]
    beyond_eight = looked[300:].count(VOCABULARY)
    assert beyond_eight == 300 if draw.top_k > 8 else beyond_eight < 250


def test_requests_of_one_batch_keep_their_own_rules() -> None:
    many, rows = Draws(None), scores(len(RULES) + 1, seed=3)
    asked = [(Draw(), 9), *((draw, 9) for draw in RULES)]
    together = many(torch.zeros(0), rows, numbers(many, asked)).argmax(-1)
    alone = [many(torch.zeros(0), rows[i : i + 1], numbers(many, asked[i : i + 1])).argmax() for i in range(len(asked))]
    assert together.tolist() == [int(token) for token in alone]
    assert together[0] == rows[0].argmax()


def test_a_tie_is_broken_as_argmax_breaks_it() -> None:
    """Scores in bfloat16 tie often; greedy beside a drawing neighbour is still greedy."""
    many, rows = Draws(None), torch.zeros(65, VOCABULARY)
    rows[:, [7, 21, 30]] = 4.0
    asked = [(Draw(1.0), 1), *((Draw(), position) for position in range(64))]
    tokens = many(torch.zeros(0), rows, numbers(many, asked)).argmax(-1)
    assert set(tokens[1:].tolist()) == {int(rows[0].argmax())}


def test_a_seed_decides_the_numbers_and_no_seed_is_another_each_time() -> None:
    one, same, other = Draw(1.0, seed=7), Draw(1.0, seed=7), Draw(1.0, seed=8)
    assert [one.number(i) for i in range(50)] == [same.number(i) for i in range(50)]
    assert [one.number(i) for i in range(50)] != [other.number(i) for i in range(50)]
    assert all(0 <= one.number(i) < 1 for i in range(1000))
    hot = GenerationSettings(temperature=1.0)
    assert len({Draw.of(hot).seed for _ in range(5)}) == 5


def test_cold_is_greedy() -> None:
    assert Draw.of(GenerationSettings(temperature=1e-30)) == Draw()
