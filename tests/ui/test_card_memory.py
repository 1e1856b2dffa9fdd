"""From "I have a 12 GB card" to a choice: what fits is told over the list, and marked in it."""

from __future__ import annotations

from typing import Any

import pytest

from ovis_app.ui.model_choice import NO_CHOICE, card_memory
from tests.ui.serving import Wire


def test_the_list_tells_what_fits_here_or_on_a_card(wire: Wire) -> None:
    here = wire.offers()
    assert here["own"], "whoever has the model here may bring another"
    assert here["fitting"].startswith("24.0 GB are free here. What fits, the newest first: Ovis2.5-9B, Ovis2.5-2B, ")
    card = wire.offers("12 GB")
    assert card["fitting"].startswith("On a card of 12 GB fit, the newest first: Ovis2.5-2B, ")
    assert row_of("Ovis2.5-9B", card).startswith("Ovis2.5-9B\n18.3 GB · too big")
    assert row_of("Ovis2.5-9B", wire.offers("80")).startswith("Ovis2.5-9B\n18.3 GB · fits")
    assert "On a card of 1 GB no full-size model fits" in wire.offers("1 gb")["fitting"]
    assert "are free here" in wire.offers("a lot")["fitting"]  # what isn't a size is this machine


def row_of(name: str, told: dict[str, Any]) -> str:
    return next(str(one["row"]) for one in told["offers"] if one["row"].startswith(f"{name}\n"))


@pytest.mark.parametrize(
    ("written", "size"),
    [("12", 12e9), (" 12GB ", 12e9), ("1,5 gb", 1.5e9), ("8 GiB", 8e9), ("", None), ("0", None),
     ("-5", None), ("1e9", None), ("99999", None), ("12 GB; x", None), ("٣", None)],
)  # fmt: skip
def test_a_memory_is_read_as_people_write_it(written: str, size: float | None) -> None:
    assert card_memory(written) == size


@pytest.mark.parametrize("asked", [None, [], "12 GB", 12, {"card": 12}, {"card": ["12 GB"]}, {"card": "1" * 101}])
def test_what_is_no_memory_at_all_is_a_sentence(wire: Wire, asked: Any) -> None:
    assert wire.call("offers", asked) == {"refused": NO_CHOICE}
