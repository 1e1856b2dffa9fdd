"""What people want of a model, and which of those that are offered come first then.

Pure values. Knows offers; refuses to know who makes them, and how they are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ovis_app.backend import Offer
from ovis_app.zoo import FAMILY_ROWS

NO_SPEED = "How fast each model would be isn't known: as a rule the small ones are the fastest."
GENERATIONS = list(FAMILY_ROWS)  # the newest first


@dataclass(frozen=True)
class Wish:
    """One of them: its name, who is meant, and by what they are sorted."""

    name: str
    label: str
    meant: Callable[[Offer], bool]
    order: Callable[[Offer], float]


def _full(offer: Offer) -> bool:
    """Whether it is more than the little one that comes with the app."""
    return not offer.model.bundled


def _newest(offer: Offer) -> float:
    """The newest generation first, and of each the largest."""
    return GENERATIONS.index(offer.model.family) - min(offer.model.parameters, 999) / 1000


def _reader(offer: Offer) -> float:
    """What does nothing but read comes first, then the newest."""
    return _newest(offer) - len(GENERATIONS) * offer.model.alone


def _fastest(offer: Offer) -> float:
    return -(offer.speed or 0.0)


WISHES = (
    Wish("chat", "Chat", lambda offer: _full(offer) and not offer.model.alone, _newest),
    Wish("read", "Read pages", lambda offer: _full(offer) and bool(offer.model.reading), _reader),
    Wish("small", "Small", _full, lambda offer: offer.needed or offer.model.bytes),
    Wish("fast", "Fast", lambda offer: _full(offer) and offer.speed is not None, _fastest),
    Wish("best", "Best", lambda offer: _full(offer) and offer.verdict != "too big", _newest),
)


def wished(offers: Sequence[Offer], name: str | None) -> list[Offer]:
    """Those that are meant, the first one first, and what is too big here behind the others; all as they come where
    nothing is wished."""
    wish = next((one for one in WISHES if one.name == name), None)
    if wish is None:
        return list(offers)
    return sorted(filter(wish.meant, offers), key=lambda offer: (offer.verdict == "too big", wish.order(offer)))


def lacking(offers: Sequence[Offer], name: str | None) -> str:
    """Why no offer is listed as what is wished, as a sentence; empty where some are, or there is nothing to offer."""
    return NO_SPEED if name == "fast" and any(map(_full, offers)) and not wished(offers, name) else ""
