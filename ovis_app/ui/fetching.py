"""A file from an address that a tab names: fetched here, where that is allowed, into the store as if it had been
uploaded, and handed to the tab, which keeps it.

Knows HTTP, the store and how large a file of which kind may be. Refuses to know what is in it: it is looked at as any
upload is.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ovis_app.errors import Busy, UserError
from ovis_app.limits import Limits, refusal, shown_name
from ovis_app.media.fetch import receive, too_large
from ovis_app.media.file_store import FileStore, session_holder
from ovis_app.media.file_types import HEAD, PDF, kind_of
from ovis_app.media.incoming_file import IncomingFile, NoRoom
from ovis_app.media.readers import Readers
from ovis_app.stop import Stop, Stopped
from ovis_app.ui.asking import NO_REQUEST, session_in
from ovis_app.ui.endpoints import client_of
from ovis_app.ui.http_bodies import Refused
from ovis_app.ui.http_events import parsed
from ovis_app.ui.http_files import BYTES, FILE_HEADERS

ROUTE = "/from-address"
FETCHERS, OF_ONE = 8, 2  # addresses that are fetched at a time, and of one client
DOCUMENT = "application/pdf"
LONGEST = 8 * 1024  # characters of an address
NOT_HERE = "Addresses aren't fetched here: download the file and attach it."
BY_HAND = "download it and attach the file"
RETRY = {"retry-after": "5"}


class Fetching:
    """Fetches for tabs, where it is `allowed`."""

    def __init__(self, store: FileStore, limits: Limits, *, allowed: bool) -> None:
        self._store, self._limits, self._allowed = store, limits, allowed
        self._readers = Readers(FETCHERS, each=OF_ONE)

    def routes(self) -> list[Route]:
        """Where tabs ask."""
        return [Route(ROUTE, self.answer, methods=["POST"])]

    async def answer(self, request: Request) -> Response:
        """The file, and in headers where its upload lies and what it is; or why there is none."""
        try:
            asked = parsed(await request.body())
            session, address = session_in(asked), asked.get("address")
            if not isinstance(address, str):
                return _said(NO_REQUEST, 400)
            if not self._allowed:
                return _said(NOT_HERE, 403)
            return await self._fetched(request, session, address)
        except Busy as error:
            return _said(str(error), 429, RETRY)
        except NoRoom as error:
            return _said(str(error), 507)
        except (UserError, Refused) as error:
            return _said(str(error), 400)

    async def _fetched(self, request: Request, session: str, address: str) -> Response:
        """Raises MediaError and Busy. Whoever leaves isn't fetched for any more, and nothing of it stays."""
        left, name = Stop(), name_in(address)
        by = getattr(request.state, "visitor", "")
        work = partial(self._into_store, address, name, session_holder(session), by, left)
        found: list[tuple[Path, str] | UserError] = []
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                left.set()

            group.start_soon(watch)
            try:
                found.append(await self._readers.run(work, client=client_of(request, session)))
            except UserError as error:
                found.append(error)
            except Stopped:
                pass
            group.cancel_scope.cancel()
        if not found:
            return Response(status_code=400)  # nobody is there to be told
        if isinstance(found[0], UserError):
            raise found[0]
        path, kind = found[0]
        told = {"x-upload": quote(str(path)), "x-kind": kind}
        return FileResponse(path, media_type=BYTES, filename=path.name, headers={**FILE_HEADERS, **told})

    def _into_store(self, address: str, name: str, holder: str, by: str, left: Stop) -> tuple[Path, str]:
        """Where the file lies, which is the holder's, and what it is. Raises MediaError, and Stopped once the tab has
        `left`."""
        coming = self._store.begin(name, by)
        try:
            file = _Measured(coming, self._limits)
            most = max(_most(self._limits).values())
            receive(address, file.take, name=name, most=most, instead=BY_HAND, stop=left)
            file.look()
            return self._store.claim(coming.finish(), holder, name), file.mime
        finally:
            coming.abort()


class _Measured:
    """A file on its way into the store, no further than files of its kind may go."""

    def __init__(self, coming: IncomingFile, limits: Limits) -> None:
        self._coming, self._limits = coming, limits
        self._head, self._most, self.mime = b"", 0, ""

    def take(self, data: bytes) -> None:
        """Raises MediaError."""
        self._head += data[: HEAD - len(self._head)]
        self._coming.write(data)
        if len(self._head) == HEAD:
            self.look()

    def look(self) -> None:
        """Raises MediaError where it is nothing that can be attached, or too much of it."""
        if not self._most:
            kind = kind_of(self._head)
            what = "document" if kind is PDF else kind.media
            if what is None:
                raise refusal(self._coming.name, kind.advice)
            self._most, self.mime = _most(self._limits)[what], DOCUMENT if kind is PDF else kind.mime
        if self._coming.size > self._most:
            raise too_large(self._coming.name, self._most)


def _most(limits: Limits) -> dict[str, int]:
    return {"image": limits.image_bytes, "video": limits.video_bytes, "document": limits.document_bytes}


def name_in(address: str) -> str:
    """What a file at this address is called: the last part of its path, else its host."""
    try:
        place = urlsplit(address[:LONGEST])
        return shown_name(unquote(place.path) if place.path.strip("/") else place.hostname or "")
    except ValueError:  # no address at all
        return shown_name("")


def _said(sentence: str, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers)
