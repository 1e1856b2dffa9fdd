"""How much a request may send, counted while it arrives: a length that is announced is believed only to refuse.

Knows bytes, and what stands between the values of JSON. Keeps none of them, so that a large body costs no memory here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ovis_app.limits import MEGABYTE

VALUES = 20_000  # of an event's inputs; a million empty objects are 4 MB, and checking each one took Gradio 9 s
FILES_A_TURN = 4  # times the files of a question: more are refused in a sentence of the page, but not without end


class Refused(Exception):
    """A request that goes no further; its text is a sentence."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, headers or {}


class Meter(Protocol):
    """Looks at a body as it arrives."""

    most: int

    def take(self, data: bytes) -> None:
        """The next bytes. Raises Refused once they are too many, or not what belongs here."""


@dataclass
class Counted:
    """At most `most` bytes of whatever it is."""

    most: int
    seen: int = 0

    def take(self, data: bytes) -> None:
        self.seen += len(data)
        if self.seen > self.most:
            raise too_large(self.most)


class Json:
    """At most `most` bytes and `VALUES` values of JSON, counted by what stands between them outside of strings."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._counted = Counted(most)
        self._values = 0
        self._quoted = False
        self._rest = b""  # a backslash whose other half is still to come

    def take(self, data: bytes) -> None:
        self._counted.take(data)
        if b"\0" in data:  # of UTF-16, in which bytes don't mean what is counted here
            raise Refused(400, "JSON is sent as UTF-8.")
        data = (self._rest + data).replace(b"\\\\", b"")
        self._rest = b"\\" if data.endswith(b"\\") else b""
        data = data.removesuffix(b"\\").replace(b'\\"', b"")
        parts = data.split(b'"')
        for part in parts[self._quoted :: 2]:
            self._values += part.count(b",") + part.count(b"[") + part.count(b"{")
        self._quoted ^= len(parts) % 2 == 0
        if self._values > VALUES:
            raise Refused(413, f"Those are more than the {VALUES:,} values that may be sent here at once: send fewer.")


def too_large(most: int) -> Refused:
    size = f"{most / MEGABYTE:g} MB" if most >= MEGABYTE else f"{most // 1024} kB"
    return Refused(413, f"That is more than the {size} that may be sent here at once: send less.")


def check_length(announced: str, meter: Meter) -> None:
    """Raises Refused for an announced length that is too large, before anything is read."""
    if not (announced.isascii() and announced.isdigit()):
        raise Refused(400, "That content-length isn't a number.")
    if len(announced) > 18 or int(announced) > meter.most:
        raise too_large(meter.most)
