"""Schemas and answers of strangers, looked at in a bounded process: a schema may hold a pattern that is tried for
years, or refer to itself a million times.

Knows how many are looked at at once; what is checked is json_answers.py's.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from ovis_app import bounded_process
from ovis_app.bounded_process import Bounds, Killed
from ovis_app.errors import UserError
from ovis_app.json_answers import AGAIN, LARGEST, JsonAnswers, SchemaRefused, Unfit

BOUNDS = Bounds(seconds=20.0, processor_seconds=5, memory=500_000_000)
LONGEST_ANSWER = 1_000_000  # characters
BUSY = "Too many answers are checked at once: try again in a moment."
SLOW = "The schema takes too long to check: make it simpler."

_places = threading.BoundedSemaphore(2)


def checked(schema: str, answer: str | None) -> dict[str, Any]:
    """Of a schema alone what is to stand behind a question (`wanted`); of an answer its `data`, as JSON, or why it is
    `unfit` and what is said to have it `again`. Raises UserError where it is no schema, or takes too long."""
    if len(schema) > LARGEST or len(answer or "") > LONGEST_ANSWER:
        raise SchemaRefused(f"The schema has more than {LARGEST:,} characters, or the answer is too long: shorten it.")
    if not _places.acquire(timeout=BOUNDS.seconds):
        raise UserError(BUSY)
    try:
        said = bounded_process.done(__name__, {"schema": schema, "answer": answer}, BOUNDS)
    except Killed as error:
        raise SchemaRefused(SLOW) from error
    finally:
        _places.release()
    if "refused" in said:
        raise SchemaRefused(str(said["refused"]))
    return dict(said)


def work(job: dict[str, Any]) -> dict[str, Any]:
    """What is done in the bounded process."""
    schema, answer = job["schema"], job["answer"]
    try:
        shape = JsonAnswers.of(schema, "The schema")
        return {"wanted": shape.wanted} if answer is None else {"data": _written(shape.data(answer))}
    except SchemaRefused as error:
        return {"refused": str(error)}
    except Unfit as error:
        return {"unfit": str(error), "again": AGAIN.format(error)}


def _written(data: Any) -> str:
    """As JSON in plain letters, which any reader takes. Raises Unfit."""
    try:
        return json.dumps(data, allow_nan=False)
    except ValueError as error:
        raise Unfit("The answer's JSON has numbers too large to be written.") from error
