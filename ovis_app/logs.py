"""The log as one JSON object a line, for machines. Where it isn't asked for everything is printed as ever.

Safe by shape: of a line of ours it shows the words of our source and what can't be anybody's, which are numbers, names
of errors and of modules, and request ids; of another package's line where it was written. So no prompt, file name,
path, key or address gets in, whoever logs what. Refuses to know who logs.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from ovis_app.outcomes import Outcome
from ovis_app.request_id import NO_ID, RequestId

OURS = "ovis_app"
SERVERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "gradio")  # which bring handlers of their own
HIDDEN = "…"
NUMBERED = " (request %s)"  # at a line's end, or in its middle: JSON has it beside the words
FRAMES = 12  # of a traceback, the innermost
PLACE = re.compile(r"%(?:\(\w+\))?[#0\- +]*\d*(?:\.\d+)?[a-zA-Z%]")
EVENT_FAILED = re.compile(r"An event failed: (\w+)")

log = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        ours = record.name.partition(".")[0] == OURS
        request = next((one for one in _arguments(record) if isinstance(one, RequestId)), None)
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": _words(record, request) if ours else "said by a library",
            "logger": record.name if ours or record.name in SERVERS else record.name.partition(".")[0],
        }
        if not ours:
            told["at"] = f"{record.module}:{record.lineno}"
        told |= {"request": request} if request not in (None, NO_ID) else {}
        told |= cast(dict[str, Any], getattr(record, "told", {})) if ours else {}
        told |= _failure(error) if (error := _raised(record)) is not None else {}
        return json.dumps(told, ensure_ascii=False)


def _arguments(record: logging.LogRecord) -> tuple[Any, ...]:
    return record.args if isinstance(record.args, tuple) else ()


def _raised(record: logging.LogRecord) -> BaseException | None:
    """What is logged with its traceback; else what the words are of."""
    if record.exc_info and record.exc_info[1] is not None:
        return record.exc_info[1]
    return next((one for one in _arguments(record) if isinstance(one, BaseException)), None)


def _words(record: logging.LogRecord, request: RequestId | None) -> str:
    """What our source says, with the values that may be shown."""
    if not isinstance(record.msg, str):
        return type(record.msg).__name__
    values = iter(_arguments(record))

    def shown(place: re.Match[str]) -> str:
        if place[0] == "%%":
            return "%"
        value = next(values, None)
        if isinstance(value, bool | int | float) and not place[0].endswith("r"):
            return place[0] % value
        return _named(value)

    words = PLACE.sub(shown, record.msg) if record.args else record.msg
    return words if request is None else words.replace(NUMBERED % request, "")


def _named(value: object) -> str:
    if isinstance(value, BaseException):
        return type(value).__name__
    if isinstance(value, RequestId) or (isinstance(value, str) and value in set(_error_names(BaseException))):
        return value
    return HIDDEN


def _error_names(kind: type[BaseException]) -> Iterator[str]:
    yield kind.__name__
    for one in type.__subclasses__(kind):
        yield from _error_names(one)


def _failure(error: BaseException) -> dict[str, Any]:
    """What was raised and where, without its words: they may repeat what came in."""
    causes: list[str] = []
    last: BaseException | None = error
    while last is not None and len(causes) < FRAMES:
        causes.append(type(last).__name__)
        last = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
    frames = [
        f"{frame.f_globals.get('__name__', '?')}:{line}" for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return {"errors": causes, "trace": frames[-FRAMES:]}


class Printed:
    """Stands for stderr: what libraries print is a line of the log that says how much it was."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writing = threading.local()  # whether a line is being logged, which may print in its turn

    def write(self, text: str) -> int:
        if text.strip() and not getattr(self._writing, "now", False):
            failed = EVENT_FAILED.match(text)
            self._writing.now = True
            try:
                log.warning("%s was printed, of %d characters", _named(failed[1]) if failed else "", len(text))
            finally:
                self._writing.now = False
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Lines(logging.StreamHandler[TextIO]):
    """Writes lines as long as they can be written. Where they can't, on a full disk or to a reader who is gone, it is
    silent: whatever it said would be one more line."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


def start(stream: TextIO) -> None:
    """From now on all that is logged goes to the stream as JSON."""
    handler = Lines(stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(OURS).setLevel(logging.INFO)
    logging.captureWarnings(True)
    take_over()


def take_over() -> None:
    """Servers that have set up logs of their own meanwhile write to ours."""
    for name in SERVERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def tell(outcome: Outcome) -> None:
    """Writes down how something ended."""
    stats, first = outcome.stats, outcome.first_token_seconds
    told = {
        "request": "" if outcome.request == NO_ID else outcome.request,
        "finish": outcome.finish,
        "error": outcome.error,
        "seconds": round(outcome.seconds, 3),
        "first_token_seconds": None if first is None else round(first, 3),
        "files": outcome.files,
        "prompt_tokens": stats.prompt_tokens,
        "visual_tokens": stats.visual_tokens,
        "cached_tokens": stats.cached_tokens,
        "answer_tokens": stats.answer_tokens,
    }
    kept = {name: value for name, value in told.items() if value or isinstance(value, float)}
    log.info({"answer": "answer", "look": "look", "upload": "upload refused"}[outcome.what], extra={"told": kept})
