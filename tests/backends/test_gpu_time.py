"""How much time of a GPU is asked for: computed at first, learned from what answers took."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from ovis_app.backends.gpu_time import CARDS, LEAST, Amount, GpuTime, ModelCost, Took, computed

GB = 10**9
# About what Ovis2.5-2B and 9B weigh in bfloat16.
SMALL = ModelCost(int(5.1 * GB), int(3.4 * GB), 2.8e9, 9e9, 114_688, 28)
LARGE = ModelCost(int(18.3 * GB), int(15.2 * GB), 13.9e9, 10e9, 147_456, 36)


def card() -> dict[str, Any]:
    """ZeroGPU's card as the installed `spaces` knows it."""
    known = json.loads(files("spaces.zero").joinpath("configs.json").read_text("utf-8"))
    return next(dict(one) for one in known if "RTX PRO 6000" in one["model"])


def seconds(model: ModelCost, amount: Amount, size: str = "large") -> int:
    return GpuTime(model, CARDS[size]).seconds(amount)


def test_more_to_see_to_say_and_to_weigh_takes_longer() -> None:
    least = seconds(SMALL, Amount(100, 0, 64))
    assert LEAST <= least < 15
    assert seconds(SMALL, Amount(100, 0, 3072)) > least + 10
    assert seconds(SMALL, Amount(30_000, 30_000, 64)) > least + 3
    assert seconds(LARGE, Amount(100, 0, 64)) > least
    assert seconds(LARGE, Amount(100, 0, 3072), "xlarge") < seconds(LARGE, Amount(100, 0, 3072))


def test_nobody_is_asked_for_more_than_a_visitor_has_in_a_day() -> None:
    endless = Amount(40_000, 40_000, 60_000)
    assert (seconds(LARGE, endless), seconds(LARGE, endless, "xlarge")) == (80, 60)
    for size in ("large", "xlarge"):  # as spaces counts for the card that ZeroGPU has
        factor = 1 if size == "xlarge" else card()["duration_factor"]
        assert seconds(LARGE, endless, size) * factor * (2 if size == "xlarge" else 1) <= 120


@pytest.mark.parametrize("model", [SMALL, LARGE], ids=["2B", "9B"])
def test_what_is_asked_for_covers_what_was_computed(model: ModelCost) -> None:
    amount = Amount(3000, 2900, 1024)
    parts = computed(model, CARDS["large"], amount)
    assert parts.begin is not None and parts.prefill is not None and parts.decode is not None
    assert seconds(model, amount) >= parts.begin + parts.prefill + parts.decode


class SlowCard:
    """Takes so many times as long as was computed, and is taken away when the time is over."""

    def __init__(self, times: float) -> None:
        self.times = times

    def answer(self, time: GpuTime, amount: Amount) -> bool:
        """One answer of the whole amount; whether it had enough time. Tells `time` what a process would tell."""
        left: float = time.seconds(amount)
        whole = computed(SMALL, CARDS["large"], amount)
        assert whole.begin is not None and whole.prefill is not None and whole.decode is not None
        left -= self.times * (whole.begin + whole.prefill)
        made = min(int(left / (self.times * whole.decode) * amount.new_tokens), amount.new_tokens)
        if made <= 0:
            time.ran_out()
            return False
        part = Amount(amount.prompt_tokens, amount.visual_tokens, made)
        decode = computed(SMALL, CARDS["large"], part).decode
        assert decode is not None
        time.took(part, Took(self.times * whole.begin, self.times * whole.prefill, self.times * decode))
        return made == amount.new_tokens


@pytest.mark.parametrize("times", [1.0, 2.0, 4.0])
def test_a_slow_card_is_asked_for_longer_until_answers_have_time(times: float) -> None:
    time, card, amount = GpuTime(SMALL, CARDS["large"]), SlowCard(times), Amount(3000, 2900, 512)
    before = time.seconds(amount)
    tries = [card.answer(time, amount) for _ in range(6)]
    assert tries[-2:] == [True, True], tries
    assert (time.seconds(amount) > before) == (times > 1)


def test_a_card_that_was_busy_once_is_asked_for_less_again() -> None:
    time, amount = GpuTime(SMALL, CARDS["large"]), Amount(3000, 2900, 512)
    usual = time.seconds(amount)
    SlowCard(3.0).answer(time, amount)
    slow = time.seconds(amount)
    asked = []
    for _ in range(20):
        SlowCard(1.0).answer(time, amount)
        asked.append(time.seconds(amount))
    assert slow > asked[0] > asked[-1] and asked[-1] <= usual + 1
    assert asked[0] > 0.75 * slow, "one quick answer doesn't say that the next will be"


def test_an_answer_of_a_word_tells_nothing_of_a_long_one() -> None:
    time, amount = GpuTime(SMALL, CARDS["large"]), Amount(100, 0, 512)
    before = time.seconds(amount)
    time.took(Amount(100, 0, 1), Took(decode=2.0))
    assert time.seconds(amount) == before
