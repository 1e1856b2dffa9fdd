"""`ovis models`: the models that are known by name, what they take, and whether that fits here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ovis_app import settings as settings_module
from ovis_app.cli.common import MACHINE, WHO, prepare_proxies, program, say, settings_of
from ovis_app.errors import BackendError
from ovis_app.settings import Flags
from ovis_app.wishes import WISHES, lacking, wished

if TYPE_CHECKING:
    from ovis_app.backend import Offer


def run(words: Sequence[str]) -> int:
    flags = Flags(prog=f"{program()} models", description="List the models that are known by name, and what fits here.")
    settings_module.add_arguments(flags, (*WHO, *MACHINE))
    flags.add_argument(
        "--for", dest="wish", choices=[one.name for one in WISHES], help="what it is wanted for: those, the best first"
    )
    given = flags.parse_args(words)
    settings = settings_of(given)
    prepare_proxies(settings)
    from ovis_app import zoo
    from ovis_app.backends import open_backend

    try:
        known = open_backend(settings, settings.limits()).offers()
    except BackendError as error:  # without torch nobody knows what fits
        say(error)
        print("\n".join(spec.name for spec in zoo.MODELS))
        return 0
    if why := lacking(known, given.wish):
        say(why)
    offers = wished(known, given.wish)
    here, away = [o for o in offers if o.server is None], [o for o in offers if o.server is not None]
    if here:
        _print_sizes(here)
    for offer in away:
        print(f"{offer.model.name:31} on {offer.server.name}, {offer.model.context:,} tokens")  # type: ignore[union-attr]
    return 0


def _print_sizes(offers: Sequence[Offer]) -> None:
    """What models of this machine take of its memory."""
    free = offers[0].available / 1e9
    print(f"{'GB':31}{'weights':>9}{'talk':>9}{'pictures':>9}{'tokens/s':>10}   of {free:.1f} GB that are free")
    for offer in offers:
        part = offer.resources
        sizes = () if part is None else (part.weights, part.conversations, part.pictures)
        cells = "".join(f"{size / 1e9:9.1f}" for size in sizes)
        print(f"{offer.model.name:31}{cells:27}{offer.pace:>10}   {offer.verdict}")
    print("talk: a conversation as long as the model can read. tokens/s: about as many as an answer gets at")
    print("most, by what a token reads and how fast memory is. README says what each model can do.")
