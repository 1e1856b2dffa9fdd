"""What an event may bring: checked before Gradio parses it, opens a file for it or puts it into its queue.

Knows JSON and, from the page's own description, how many values of which kinds each event takes. Repeats nothing of
what was sent, neither to whoever sent it nor in the log. Refuses to know what the values mean.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ovis_app.limits import Limits
from ovis_app.ui.http_bodies import Refused

NO_SUCH_EVENT = "That call names nothing that is here, or doesn't bring what it takes: GET /gradio_api/info lists both."
CROWDED = "Too many questions and files come from here at once: try again in a moment."
EVENT = re.compile(r"/gradio_api/(?P<how>queue/join|(?:run|api|call)/(?P<name>[^/]+)/?)")
SESSION = re.compile(r"[A-Za-z0-9_.-]{1,100}")
DEEPEST = 32  # lists and objects in one another
LONGEST_PATH = 4096  # characters
FILES_A_TURN = 4  # times the files of a question: what is too many for one is said in the page
OF_SESSION, OF_ALL = 8, 256  # events at a time that are answered at once
RETRY_SECONDS = 2


def _text(value: object) -> bool:
    return isinstance(value, str)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# By the kind of component; of those that aren't named an event takes anything. A value that is null always goes.
_KINDS: dict[str, Callable[[object], bool]] = {
    "textbox": _text,
    "radio": _text,
    "slider": _number,
    "checkbox": lambda value: isinstance(value, bool),
    "multimodaltextbox": lambda value: isinstance(value, dict) and _text(value.get("text", "")),
}


class Events:
    """The events of a page, by what Gradio says of them."""

    def __init__(self, config: Mapping[str, Any], limits: Limits) -> None:
        kinds = {one["id"]: one for one in config["components"]}
        self._most_files = FILES_A_TURN * limits.files_per_turn
        self._takes = {one["id"]: [kinds[i]["type"] for i in one["inputs"]] for one in config["dependencies"]}
        self._named = {one["api_name"]: one["id"] for one in config["dependencies"] if one["api_name"]}

    def check(self, path: str, body: bytes) -> str:
        """Whose event this is: the name of a session, or nothing. Raises Refused."""
        asked = parsed(body)
        found = EVENT.fullmatch(path)
        if found is None:  # its values have names, which Gradio checks
            return ""
        session, number = asked.get("session_hash"), asked.get("fn_index")
        if session is not None and not (isinstance(session, str) and SESSION.fullmatch(session)):
            raise _unfit()
        if number is None:
            number = self._named.get(str(found["name"]))
        if not isinstance(number, int) or isinstance(number, bool) or number not in self._takes:
            raise _unfit()
        self._check_values(asked.get("data"), self._takes[number])
        return session or ""

    def _check_values(self, values: object, kinds: list[str]) -> None:
        if not isinstance(values, list):
            raise _unfit()
        if len(values) != len(kinds):  # a program may leave out what a page keeps for itself
            kinds = [kind for kind in kinds if kind != "state"]
        if len(values) != len(kinds):
            raise _unfit()
        for kind, value in zip(kinds, values, strict=True):
            if value is not None and kind in _KINDS and not _KINDS[kind](value):
                raise _unfit()
            if kind == "multimodaltextbox" and value is not None:
                self._check_files(value.get("files", []))

    def _check_files(self, files: object) -> None:
        if not isinstance(files, list):
            raise _unfit()
        if len(files) > self._most_files:
            raise Refused(413, "Those are too many files at once: send fewer.")
        for one in files:
            path = one.get("path") if isinstance(one, dict) else None
            if not isinstance(path, str) or len(path) > LONGEST_PATH or "\0" in path:
                raise _unfit()


class Crowd:
    """Events that are answered at once, counted: one session has only so many at a time, and all together."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    @contextmanager
    def one_more(self, session: str) -> Iterator[None]:
        """While the block runs there is one more. Raises Refused."""
        if self._of.total() >= OF_ALL or (session and self._of[session] >= OF_SESSION):
            raise Refused(429, CROWDED, {"retry-after": str(RETRY_SECONDS)})
        self._of[session] += 1
        try:
            yield
        finally:
            self._of[session] -= 1
            if not self._of[session]:
                del self._of[session]


def parsed(body: bytes) -> dict[str, Any]:
    """The object that a body is JSON of, and not too deep. Raises Refused."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _unfit() from error
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for one in level for inner in _inside(one)]
    if level or not isinstance(value, dict):
        raise _unfit()
    return value


def _inside(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _unfit() -> Refused:
    return Refused(400, NO_SUCH_EVENT)
