"""What an event may bring: checked before Gradio parses it, opens a file for it or puts it into its queue.

Knows JSON and, from the page's own description, how many values each event takes, and what stands for those that a
program leaves out. Repeats nothing of what was sent, neither to whoever sent it nor in the log. Refuses to know what
the values mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ovis_app.media.file_store import session_holder
from ovis_app.ui.http_bodies import Refused
from ovis_app.ui.http_named_files import MayName, check_files

NO_SUCH_EVENT = "That call names nothing that is here, or doesn't bring what it takes: GET /gradio_api/info lists both."
EVENT = re.compile(r"/gradio_api/(?P<how>queue/join|(?:run|api|call)/(?P<name>[^/]+)/?)")
SESSION = re.compile(r"[A-Za-z0-9_.-]{1,100}")
DEEPEST = 32  # lists and objects in one another


def no_files(path: Path, holder: str) -> bool:
    """Where there is no store."""
    return False


class Event(NamedTuple):
    """One that may pass. `session` is the name of whose it is, or nothing; `body` is what Gradio is given."""

    session: str
    body: bytes


class Events:
    """The events of a page, by what Gradio says of them: its configuration, and of endpoints its description.
    `may_name` tells which files they may bring."""

    def __init__(
        self, config: Mapping[str, Any], described: Mapping[str, Any], *, may_name: MayName = no_files
    ) -> None:
        self._may_name = may_name
        self._takes = {one["id"]: len(one["inputs"]) for one in config["dependencies"]}
        self._named = {one["api_name"]: one["id"] for one in config["dependencies"] if one["api_name"]}
        self._left_out = {
            self._named[name.removeprefix("/")]: endpoint["parameters"]
            for name, endpoint in described["named_endpoints"].items()
        }

    def check(self, path: str, body: bytes) -> Event:
        """The event, with the values that it leaves out. Raises Refused."""
        asked = parsed(body)
        found = EVENT.fullmatch(path)
        if found is None:  # its values have names, which Gradio checks
            check_files(asked, self._may_name, "")
            return Event("", body)
        session, number = asked.get("session_hash"), asked.get("fn_index")
        if session is not None and not (isinstance(session, str) and SESSION.fullmatch(session)):
            raise _unfit()
        check_files(asked, self._may_name, session_holder(session))
        if number is None:
            number = self._named.get(str(found["name"]))
        if not isinstance(number, int) or isinstance(number, bool) or number not in self._takes:
            raise _unfit()
        values = asked.get("data")
        if not isinstance(values, list):
            raise _unfit()
        whole = self._whole(values, number)
        if len(whole) != self._takes[number]:
            raise _unfit()
        return Event(session or _tab(whole), body if whole is values else json.dumps(asked | {"data": whole}).encode())

    def _whole(self, values: list[Any], number: int) -> list[Any]:
        """The values of an endpoint with its own for what was left out behind them, where it has some."""
        rest = self._left_out.get(number, ())[len(values) :]
        if not rest or not all(one["parameter_has_default"] for one in rest):
            return values
        return [*values, *(one["parameter_default"] for one in rest)]


def parsed(body: bytes) -> dict[str, Any]:
    """The object that a body is JSON of, with each name once and not too deep. Raises Refused."""
    try:
        value = json.loads(body, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise _unfit() from error
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for one in level for inner in _inside(one)]
    if level or not isinstance(value, dict):
        raise _unfit()
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Which of two values of one name counts isn't said anywhere: what is checked could be the other one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _inside(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _tab(values: list[Any]) -> str:
    """The session in a question of the page, which is an event of its own to Gradio; nothing where there is none."""
    named = values[0].get("session") if values and isinstance(values[0], dict) else None
    return named if isinstance(named, str) and SESSION.fullmatch(named) else ""


def _unfit() -> Refused:
    return Refused(400, NO_SUCH_EVENT)
