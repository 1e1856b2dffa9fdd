"""Each request of a batch draws by its own rules: those of transformers' generate, and its own seed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from ovis_app.engine import sampling
from ovis_app.engine.sampling import Choice, Draw, Drawing, choose, drawn
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


def at(draw: Draw, position: int) -> Choice:
    """The choice of the answer's token `position`."""
    return Choice(draw, [1] * position)


def chances(draw: Draw, row: Tensor) -> Tensor:
    """The distribution that generate draws from."""
    row = TemperatureLogitsWarper(float(draw.temperature))(None, row[None])
    if draw.top_k:
        row = TopKLogitsWarper(draw.top_k)(None, row)
    if draw.top_p < 1:
        row = TopPLogitsWarper(draw.top_p)(None, row)
    return row.softmax(-1)[0]


@pytest.mark.parametrize("draw", RULES)
def test_tokens_come_as_often_as_generate_would_draw_them(draw: Draw) -> None:
    """Counted over numbers spread evenly over 0 to 1."""
    row, times = scores(1)[0], 4096
    rules = (torch.full((times,), value) for value in (draw.temperature, draw.top_k, draw.top_p))
    tokens = drawn(row.repeat(times, 1), *rules, (torch.arange(times) + 0.5) / times, VOCABULARY)
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
    rows, tokens = scores(300, seed=5), []
    for likely in (VOCABULARY, 8):
        monkeypatch.setattr(sampling, "LIKELY", likely)
        tokens.append([choose(rows[i : i + 1].clone(), [at(draw, i)]) for i in range(300)])
    assert tokens[0] == tokens[1]
    beyond_eight = sum(most > 8 for most in looked[300:])
    assert beyond_eight == 300 if draw.top_k > 8 else beyond_eight < 250


def test_requests_of_one_batch_keep_their_own_rules() -> None:
    rows = scores(len(RULES) + 3, seed=3)
    asked = [
        at(Draw(), 9),
        *(at(draw, 9) for draw in RULES),
        Choice(RULES[1], [3, 4, 4], penalty=1.7),
        Choice(Draw(), [2], forced=17),
    ]
    together = choose(rows.clone(), asked)
    assert together == [choose(rows[i : i + 1].clone(), asked[i : i + 1])[0] for i in range(len(asked))]
    assert together[0] == rows[0].argmax() and together[-1] == 17


def test_a_tie_is_broken_as_argmax_breaks_it() -> None:
    """Scores in bfloat16 tie often; greedy beside a drawing neighbour is still greedy."""
    rows = torch.zeros(65, VOCABULARY)
    rows[:, [7, 21, 30]] = 4.0
    tokens = choose(rows.clone(), [at(Draw(1.0), 1), *(at(Draw(), position) for position in range(64))])
    assert {*tokens[1:]} == {int(rows[0].argmax())}


@pytest.mark.parametrize("penalty", [0.6, 1.0, 1.8])
def test_what_was_said_is_made_less_likely_once_however_often_it_was_said(penalty: float) -> None:
    rows, said = scores(20, seed=6), [5, 7, 5, 5, 30]
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([said] * 20), rows).argmax(-1)
    assert choose(rows.clone(), [Choice(Draw(), said, penalty)] * 20) == expected.tolist()
    assert choose(rows.clone(), [Choice(Draw(), [], penalty)] * 20) == rows.argmax(-1).tolist()


@pytest.mark.parametrize("draw", RULES)
def test_generate_draws_the_same_tokens(draw: Draw) -> None:
    rows = scores(50, seed=7)
    for place, row in enumerate(rows):
        processed = Drawing(draw)(torch.ones(1, place, dtype=torch.long), row[None].clone())
        assert processed.argmax(-1).tolist() == choose(row[None].clone(), [at(draw, place)])


def test_a_penalty_is_taken_of_scores_that_come_out_of_a_step() -> None:
    with torch.inference_mode():
        rows = scores(1)
    assert choose(rows, [Choice(Draw(), [int(rows.argmax())], 2.0)]) == choose(
        scores(1), [Choice(Draw(), [int(scores(1).argmax())], 2.0)]
    )


def test_a_seed_decides_the_numbers_and_no_seed_is_another_each_time() -> None:
    one, same, other = Draw(1.0, seed=7), Draw(1.0, seed=7), Draw(1.0, seed=8)
    assert [one.number(i) for i in range(50)] == [same.number(i) for i in range(50)]
    assert [one.number(i) for i in range(50)] != [other.number(i) for i in range(50)]
    assert all(0 <= one.number(i) < 1 for i in range(1000))
    hot = GenerationSettings(temperature=1.0)
    assert len({Draw.of(hot).seed for _ in range(5)}) == 5


def test_cold_is_greedy() -> None:
    assert Draw.of(GenerationSettings(temperature=1e-30)) == Draw()
