"""What people want of a model decides which are listed, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ovis_app import zoo
from ovis_app.backend import Offer
from ovis_app.wishes import WISHES, lacking, wished

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


def test_where_no_speed_is_known_that_is_said_instead_of_listing_nothing() -> None:
    unknown = [replace(offer, speed=None) for offer in OFFERS]
    assert wished(unknown, "fast") == [] and "small ones are the fastest" in lacking(unknown, "fast")
    assert not lacking(OFFERS, "fast") and not lacking([], "fast")
    assert not any(lacking(unknown, name) for name in (None, "", "chat", "best"))


@pytest.mark.parametrize(
    ("speed", "said"), [(None, ""), (0.42, "0.4"), (9.96, "10"), (16.5, "16"), (104.0, "100"), (2345.0, "2,300")]
)
def test_a_speed_is_said_as_the_estimate_that_it_is(speed: float | None, said: str) -> None:
    assert replace(OFFERS[0], speed=speed).pace == said
