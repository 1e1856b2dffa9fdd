"""How much a request may send, counted while it arrives: a length that is announced is believed only to refuse.

Knows bytes and the parts of a form. Keeps none of them, so that a large upload costs no memory here.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from ovis_app.limits import MEGABYTE, Limits

VALUES = 20_000  # of an event's inputs; a million empty objects are 4 MB, and checking each one took Gradio 9 s
FILES_A_TURN = 4  # times the files of a question: more are refused in a sentence, but not without end
ROOM = 512 * MEGABYTE  # of the disk that uploads leave free: they stay for a day
LOOK = 8 * MEGABYTE  # of an upload between two looks at the disk
PART = 16 * 1024  # bytes around each file of a form


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


class Files:
    """A form of files and nothing else. Gradio would keep any other part in memory, whatever its size."""

    def __init__(self, content_type: bytes, limits: Limits, folder: Path | None = None) -> None:
        """`folder` is where Gradio stores them: on a disk that others need too."""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise Refused(400, "Files are uploaded as multipart/form-data.")
        self.files = FILES_A_TURN * limits.files_per_turn
        self.most = max(limits.files_per_turn * limits.image_bytes, limits.video_bytes) + self.files * PART
        self._counted = Counted(self.most)
        self._folder, self._next_look = folder, 0
        self._disposition = b""
        self._field, self._value = b"", b""
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin,
                "on_header_field": self._name,
                "on_header_value": self._content,
                "on_header_end": self._header,
                "on_headers_finished": self._headers,
            },
        )

    def take(self, data: bytes) -> None:
        self._counted.take(data)
        self._look_for_room()
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise Refused(400, "That upload can't be read: send it again.") from error

    def _look_for_room(self) -> None:
        if self._folder is None or self._counted.seen < self._next_look:
            return
        self._next_look = self._counted.seen + LOOK
        with suppress(OSError):  # nothing was uploaded yet, and the folder isn't there
            if shutil.disk_usage(self._folder).free < ROOM:
                raise Refused(507, "There is no room for uploads here now: try again later.")

    def _begin(self) -> None:
        self.files -= 1
        if self.files < 0:
            raise Refused(413, "Those are too many files at once: upload fewer.")
        self._disposition = b""

    def _name(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _content(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _headers(self) -> None:
        if b"filename" not in parse_options_header(self._disposition)[1]:
            raise Refused(400, "Only files are uploaded here.")
