"""What people want of a model decides which are listed, and in which order."""

from __future__ import annotations

import pytest

from ovis_app import zoo
from ovis_app.backend import Offer
from ovis_app.wishes import WISHES, wished

SPEED = {"Ovis2.5-2B": 30.0, "Ovis2.5-9B": 7.0, "Ovis2.6-30B-A3B": 16.0}
OFFERS = [
    Offer(row, "too big" if row.name == "Ovis2.6-30B-A3B" else "fits", row.bytes, 32 * 10**9, speed=SPEED.get(row.name))
    for row in zoo.MODELS
]


def names(wish: str | None) -> list[str]:
    return [offer.model.name for offer in wished(OFFERS, wish)]


def test_each_wish_lists_what_is_meant_the_best_first() -> None:
    assert names(None) == names("") == names("nothing") == [row.name for row in zoo.MODELS]
    assert names("best")[:2] == ["Ovis2.5-9B", "Ovis2.5-2B"] and "Ovis2.6-30B-A3B" not in names("best")
    assert names("chat")[0] == "Ovis2.5-9B" and names("chat")[-1] == "Ovis2.6-30B-A3B", "too big stands last"
    assert names("fast") == ["Ovis2.5-2B", "Ovis2.5-9B", "Ovis2.6-30B-A3B"], "only what is known, and fits first"
    sizes = [row.bytes for name in names("small")[:-1] for row in zoo.MODELS if row.name == name]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("wish", [one.name for one in WISHES])
def test_what_lives_in_the_app_is_wished_for_by_nobody(wish: str) -> None:
    assert names(wish) and "Ovis-mini" not in names(wish)
