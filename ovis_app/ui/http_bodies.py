"""How much a request may send, counted while it arrives: a length that is announced is believed only to refuse.

Knows bytes and the parts of a form. Keeps none of them, so that a large upload costs no memory here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from ovis_app.limits import MEGABYTE, Limits

FILES_A_TURN = 4  # times the files of a question: more are refused in a sentence, but not without end
PART = 16 * 1024  # bytes around each file of a form


class Refused(Exception):
    """A request that goes no further; its text is a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


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


def too_large(most: int) -> Refused:
    size = f"{most / MEGABYTE:g} MB" if most >= MEGABYTE else f"{most // 1024} kB"
    return Refused(413, f"That is more than the {size} that may be sent here at once: send less.")


class Files:
    """A form of files and nothing else. Gradio would keep any other part in memory, whatever its size."""

    def __init__(self, content_type: bytes, limits: Limits) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise Refused(400, "Files are uploaded as multipart/form-data.")
        self.files = FILES_A_TURN * limits.files_per_turn
        self.most = max(limits.files_per_turn * limits.image_bytes, limits.video_bytes) + self.files * PART
        self._counted = Counted(self.most)
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
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise Refused(400, "That upload can't be read: send it again.") from error

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
