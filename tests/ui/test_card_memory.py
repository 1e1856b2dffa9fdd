"""From "I have a 12 GB card" to a choice: what fits is told over the list, and marked in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ovis_app.ui.panels.models import card_memory
from tests.ui.serving import Wire


def listed(wire: Wire, memory: str) -> str:
    return json.dumps(wire.run(wire.event("card-memory", "change"), ["", [], memory, ""]), ensure_ascii=False)


def test_the_list_tells_what_fits_here_or_on_a_card(wire: Wire) -> None:
    here = json.dumps(wire.open_models())
    assert "24.0 GB are free here. What fits, the newest first: Ovis2.5-9B, Ovis2.5-2B, " in here
    card = listed(wire, "12 GB")
    assert "On a card of 12 GB fit, the newest first: Ovis2.5-2B, " in card and "Ovis2.5-9B\\n18.3 GB · too big" in card
    assert "Ovis2.5-9B\\n18.3 GB · fits" in listed(wire, "80")
    assert "On a card of 1 GB no full-size model fits" in listed(wire, "1 gb")
    assert "are free here" in listed(wire, "a lot")  # what isn't a size is this machine


@pytest.mark.parametrize(
    ("written", "size"),
    [("12", 12e9), (" 12GB ", 12e9), ("1,5 gb", 1.5e9), ("8 GiB", 8e9), ("", None), (None, None), ("0", None),
     ("-5", None), ("1e9", None), ("99999", None), ("12 GB; x", None), ("٣", None)],
)  # fmt: skip
def test_a_memory_is_read_as_people_write_it(written: Any, size: float | None) -> None:
    assert card_memory(written) == size
