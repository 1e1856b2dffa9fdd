"""What of a question is to be looked at where somebody asks how a picture is seen; and how it is divided, where nobody
here knows more than the model's family.

Knows questions and files; refuses to know models that are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ovis_app.backend import Backend, Sees
from ovis_app.backends.validation import checked
from ovis_app.conversation import Media
from ovis_app.errors import BLIND, RequestError
from ovis_app.generation import Request, Waiting
from ovis_app.limits import Limits
from ovis_app.media import upright_size
from ovis_app.media.split import box_of
from ovis_app.models.preprocess.cells import LAYOUTS, sight
from ovis_app.sight import Box, Sight, joined
from ovis_app.zoo import ModelSpec

NO_PICTURE = "There is no such picture in this question: reload the page, and open it again."
UNKNOWN = "How {name} divides a picture isn't known here."


def seen_by(backend: Backend, request: Request, place: int) -> Iterator[Waiting | Sight]:
    """What a backend tells; see `backend.Sees`. Raises RequestError where it tells nothing."""
    if not isinstance(backend, Sees):
        raise RequestError(BLIND)
    return backend.sees(request, place)


@dataclass(frozen=True)
class LookedAt:
    """A picture of a question as a model gets it: in one, or in pieces. `several` says whether there is more beside."""

    pieces: tuple[Media, ...]
    several: bool

    def parts(self, size: tuple[int, int]) -> tuple[Box, ...]:
        """Where the pieces of a picture of this width and height lie, in shares of it."""
        return tuple(_part(one, size) for one in self.pieces)

    def inner(self, size: tuple[int, int], one: Media) -> tuple[int, int]:
        """Width and height of a piece."""
        left, top, right, bottom = _in_pixels(one, size)
        return right - left, bottom - top


def looked_at(request: Request, place: int, spec: ModelSpec, limits: Limits) -> LookedAt:
    """The picture at a place among the question's files, from 0. Raises RequestError and MediaError."""
    media = checked(request, spec, limits).conversation.messages[-1].media
    number = -1
    pieces: list[Media] = []
    for one in media:
        number += one.detail.piece is None or one.detail.piece[0] == 1
        if number == place:
            pieces.append(one)
    if not pieces or pieces[0].kind != "image":
        raise RequestError(NO_PICTURE)
    return LookedAt(tuple(pieces), len(media) > 1)


def outlined(request: Request, place: int, spec: ModelSpec, limits: Limits) -> Sight:
    """How a picture is divided by models of this family. Raises RequestError and MediaError."""
    looked = looked_at(request, place, spec, limits)
    layout = LAYOUTS.get(spec.family)
    if layout is None:
        raise RequestError(UNKNOWN.format(name=spec.name))
    size = upright_size(looked.pieces[0], limits)
    found = tuple(
        sight(layout, looked.inner(size, one), spec.detail(one, several=looked.several)) for one in looked.pieces
    )
    return joined(found, looked.parts(size), size)


def _in_pixels(media: Media, size: tuple[int, int]) -> tuple[int, int, int, int]:
    piece = media.detail.piece
    return (0, 0, *size) if piece is None else box_of(*size, piece)


def _part(media: Media, size: tuple[int, int]) -> Box:
    left, top, right, bottom = _in_pixels(media, size)
    return left / size[0], top / size[1], right / size[0], bottom / size[1]
