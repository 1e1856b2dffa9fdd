"""Schemas and answers of strangers, looked at in a process that is killed after a while: a schema may hold a pattern
that is tried for years, or refer to itself a million times.

Run as a script it reads a job from stdin and writes what came of it to stdout. Knows processes; what is checked is
json_answers.py's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a script knows no package: ours comes behind all else
    sys.path.append(str(Path(__file__).parent.parent))

from ovis_app.errors import UserError
from ovis_app.json_answers import AGAIN, LARGEST, JsonAnswers, SchemaRefused, Unfit

SECONDS, PROCESSOR_SECONDS = 20.0, 5  # of the clock; of a processor, where the system counts them
MEMORY = 500_000_000  # bytes of address space, where the system counts them
LONGEST_ANSWER = 1_000_000  # characters
BUSY = "Too many answers are checked at once: try again in a moment."
SLOW = "The schema takes too long to check: make it simpler."

_places = threading.BoundedSemaphore(2)


def checked(schema: str, answer: str | None) -> dict[str, Any]:
    """Of a schema alone what is to stand behind a question (`wanted`); of an answer its `data`, as JSON, or why it is
    `unfit` and what is said to have it `again`. Raises UserError where it is no schema, or takes too long."""
    if len(schema) > LARGEST or len(answer or "") > LONGEST_ANSWER:
        raise SchemaRefused(f"The schema has more than {LARGEST:,} characters, or the answer is too long: shorten it.")
    if not _places.acquire(timeout=SECONDS):
        raise UserError(BUSY)
    try:
        job = json.dumps({"schema": schema, "answer": answer}).encode()
        command = [sys.executable, "-P", __file__]  # -P: this folder stays off the child's path
        done = subprocess.run(command, input=job, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=SECONDS)
        said = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:  # killed: what it wrote is no JSON
        raise SchemaRefused(SLOW) from error
    finally:
        _places.release()
    if "refused" in said:
        raise SchemaRefused(str(said["refused"]))
    return dict(said)


def _look(schema: str, answer: str | None) -> dict[str, Any]:
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


def _bounded() -> None:
    try:
        import resource  # not on Windows, where the clock alone counts
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def main() -> None:
    """Does one job."""
    _bounded()
    job = json.load(sys.stdin)
    json.dump(_look(job["schema"], job["answer"]), sys.stdout)


if __name__ == "__main__":
    main()
