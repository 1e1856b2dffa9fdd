"""How a picture is seen, as frames for the page: what is asked for, checked, and the numbers, rounded.

Knows sights and frames; refuses to know models, and how anything is drawn.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import closing
from typing import Any

from ovis_app.backend import Backend, Sees
from ovis_app.conversation import whole
from ovis_app.errors import BLIND, UNEXPECTED, RequestError, UserError
from ovis_app.generation import Request, Waiting
from ovis_app.request_id import reported
from ovis_app.sight import Cells, Sight
from ovis_app.ui.asking import NO_REQUEST
from ovis_app.ui.frames import Frame, failed

log = logging.getLogger(__name__)


def place_in(asked: Any) -> int:
    """Which of the question's files is meant, from 0. Raises RequestError."""
    place = asked.get("file") if isinstance(asked, dict) else None
    if not isinstance(place, int) or isinstance(place, bool):
        raise RequestError(NO_REQUEST)
    return place


def looking(backend: Backend, request: Request, place: int) -> Generator[list[Frame], None, None]:
    """What goes on until a picture is looked at, and then how it is seen; or why it isn't. Never raises."""
    note = ""
    try:
        if not isinstance(backend, Sees):
            raise RequestError(BLIND)
        with closing(backend.sees(request, place)) as events:  # type: ignore[type-var]
            for event in events:
                if isinstance(event, Sight):
                    yield [described(event)]
                else:
                    yield [_waiting(event)] if event.note != note else []
                    note = event.note
    except UserError as error:
        yield [failed(str(error))]
    except Exception:  # the edge of a turn
        log.exception("looking at a picture failed (request %s)", request.id)
        yield [failed(reported(UNEXPECTED, request.id))]


def described(sight: Sight) -> Frame:
    """A sight as JSON."""
    sizes = {"size": sight.size, "inner": sight.inner, "seen": sight.seen}
    facts = {"pieces": sight.pieces, "vocabulary": sight.vocabulary}
    return {"kind": "sight", **sizes, **facts, "cells": [_cells(one) for one in sight.cells]}


def _cells(cells: Cells) -> dict[str, Any]:
    sides = [round(side, 5) for side in (cells.left, cells.top, cells.right, cells.bottom)]
    shape = {"sides": sides, "rows": cells.rows, "columns": cells.columns, "tile": cells.tile}
    if cells.words is None:
        return shape
    numbers = {
        "shares": [round(one, 3) for one in cells.words.shares],
        "bits": [round(one, 2) for one in cells.words.bits],
    }
    return shape | {"words": cells.words.rows} | numbers


def _waiting(event: Waiting) -> Frame:
    return {"kind": "waiting", "note": whole(event.note)}
