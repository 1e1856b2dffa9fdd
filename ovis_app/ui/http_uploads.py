"""Files that somebody uploads: received into the store part by part, as they come. In place of Gradio's route, which
keeps files by the names that people gave them, in folders that their content tells, with what a full disk cut off.

Knows forms and the store. Refuses to know what is in a file.
"""

from __future__ import annotations

from pathlib import Path

import anyio
from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.responses import JSONResponse, Response

from ovis_app.limits import Limits
from ovis_app.media.file_store import FileStore
from ovis_app.media.incoming_file import IncomingFile, NoRoom
from ovis_app.ui.http_arrival import Arrival
from ovis_app.ui.http_bodies import FILES_A_TURN, Refused, too_large
from ovis_app.ui.http_coming import Coming

PART = 16 * 1024  # bytes around each file of a form
AT_ONCE, OF_ONE = 64, 16  # uploads on their way, and of one visitor, where it is known who that is
NO_FORM = "Files are uploaded as multipart/form-data."
CROWDED = "Too many files are being uploaded at once: try again in a moment."


class Files:
    """A form of files and nothing else, whose files go into the store."""

    def __init__(self, content_type: bytes, limits: Limits, store: FileStore, by: str = "") -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise Refused(400, NO_FORM)
        self.paths: list[Path] = []
        self._left = FILES_A_TURN * limits.files_per_turn
        self._each = max(limits.image_bytes, limits.video_bytes)
        self.most = max(limits.files_per_turn * limits.image_bytes, limits.video_bytes) + self._left * PART
        self._store, self._by = store, by
        self._coming: IncomingFile | None = None
        self._disposition = b""
        self._field, self._value = b"", b""
        self._begun = self._ended = False
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._name,
                    "on_header_value": self._content,
                    "on_header_end": self._header,
                    "on_headers_finished": self._headers,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_end": self._finish,
                },
            )
        except FormParserError as error:  # of a boundary that is too long
            raise Refused(400, NO_FORM) from error

    def take(self, data: bytes) -> None:
        """The next bytes, counted elsewhere. Raises Refused."""
        self._begun = True
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise Refused(400, "That upload can't be read: send it again.") from error
        except NoRoom as error:
            raise Refused(507, str(error)) from error

    def whole(self) -> list[str]:
        """Where the files lie. Raises Refused where the form didn't end."""
        if self._begun and not self._ended:
            raise Refused(400, "That upload ended too early: send it again.")
        return [str(path) for path in self.paths]

    def abort(self) -> None:
        """Removes what came."""
        if self._coming is not None:
            self._coming.abort()
        for path in self.paths:
            self._store.discard(path)

    def _begin(self) -> None:
        self._left -= 1
        if self._left < 0:
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
        named = parse_options_header(self._disposition)[1].get(b"filename")
        if named is None:
            raise Refused(400, "Only files are uploaded here.")
        self._coming = self._store.begin(named.decode("utf-8", "replace"), self._by)

    def _data(self, data: bytes, start: int, end: int) -> None:
        assert self._coming is not None
        self._coming.write(data[start:end])
        if self._coming.size > self._each:
            raise too_large(self._each)

    def _end(self) -> None:
        assert self._coming is not None
        self.paths.append(self._coming.finish())
        self._coming = None

    def _finish(self) -> None:
        self._ended = True


class Uploads:
    """Receives uploads into a store, only so many at a time."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self.coming = Coming(at_once=AT_ONCE, of_one=OF_ONE, sentence=CROWDED)
        self._writers = anyio.CapacityLimiter(4)  # threads

    async def receive(self, files: Files, arrival: Arrival) -> Response:
        """The answer to an upload, which tells where its files lie. Raises Refused; then nothing of it stays."""
        whole = False
        try:
            more = True
            while more:
                message = await arrival.next()
                data, more = message.get("body", b""), message.get("more_body", False)
                if data:
                    await anyio.to_thread.run_sync(files.take, data, limiter=self._writers)
            paths = files.whole()
            whole = True
            return JSONResponse(paths)
        finally:
            if not whole:
                files.abort()
