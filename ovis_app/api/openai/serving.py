"""How one request is answered: its files, the backend's events as they come, and leaving when the client does.

Knows backends and threads; refuses to know HTTP. Whatever goes wrong is an ApiError here, said once.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from ovis_app.api.openai import files
from ovis_app.api.openai.fields import ApiError
from ovis_app.api.openai.protocol import ChatRequest
from ovis_app.backend import Backend, Counts, Status
from ovis_app.errors import UNEXPECTED, BackendError, Busy, MediaError, RequestError, UserError
from ovis_app.generation import Event, Request
from ovis_app.limits import Limits
from ovis_app.media.incoming_file import NoRoom
from ovis_app.media.readers import Readers
from ovis_app.outcomes import Tell, kind_of, nobody, refused
from ovis_app.private_folder import name_for
from ovis_app.request_id import NO_ID, RequestId, reported
from ovis_app.stop import NEVER, Stop, Stopped

log = logging.getLogger(__name__)

T = TypeVar("T")

LOADING_SECONDS, BUSY_SECONDS = 5, 2  # after which a client may ask again
COUNTLESS = "This model's tokens can't be counted here."
CROWDED = "Too much is being sent at once: try again in a moment."
REQUESTS = 8  # of the largest size that are held in memory at a time
READERS = 4  # requests whose files are read at a time, one client's one less
FETCHERS = 8  # requests whose files come from addresses: whoever's servers are slow holds up no reader
COUNTERS = 4  # requests whose tokens are counted at a time: a server that is slow to count holds up no reader


@dataclass
class Memory:
    """What requests hold of it until what is attached to them lies on the disk: `most` bytes, all together. Each client
    leaves as much of it free as it holds, so that there is some for the next."""

    most: int
    held: int = 0
    by: dict[str, int] = field(default_factory=dict)  # client


class Load:
    """One request's share of that. On the event loop alone."""

    def __init__(self, memory: Memory, client: str, size: int = 0) -> None:
        self._memory, self._client, self._size = memory, client, size

    def add(self, size: int) -> None:
        """Raises ApiError, 503, where there is no memory for more just now."""
        if self._memory.held + size + self._memory.by.get(self._client, 0) + size > self._memory.most:
            raise ApiError(503, CROWDED, code="overloaded", retry=BUSY_SECONDS)
        self._take(size)

    def release(self) -> None:
        """Gives it back, the first time that this is called."""
        self._take(-self._size)

    def handed_on(self) -> Load:
        """The same as somebody else's, who releases it."""
        size, self._size = self._size, 0
        return Load(self._memory, self._client, size)

    def _take(self, size: int) -> None:
        memory = self._memory
        memory.held += size
        memory.by[self._client] = memory.by.get(self._client, 0) + size
        if not memory.by[self._client]:
            del memory.by[self._client]
        self._size += size


class Serving:
    """Answers for everybody who asks over HTTP."""

    def __init__(
        self, backend: Backend, limits: Limits, *, allow_urls: bool, api_bytes: int, tell: Tell = nobody
    ) -> None:
        self.backend, self._limits, self._allow_urls, self._tell = backend, limits, allow_urls, tell
        self._memory = Memory(REQUESTS * api_bytes)
        self._threads = anyio.CapacityLimiter(READERS)
        self._readers = Readers(READERS, each=READERS - 1)
        self._fetchers = Readers(FETCHERS, each=FETCHERS // 2)
        self._counters = Readers(COUNTERS, each=COUNTERS - 1)

    def ready(self) -> Status:
        """What is there to answer. Raises ApiError, 503, while there is nothing yet."""
        status = self.backend.status()
        if status.phase in ("starting", "loading"):
            raise ApiError(503, f"{status.words}: try again in a moment.", code="loading", retry=LOADING_SECONDS)
        return status

    def load(self, client: str) -> Load:
        """For the bytes of one more request of this client."""
        return Load(self._memory, client)

    async def aside(self, work: Callable[[], T]) -> T:
        """What `work` returns, from a thread: the others aren't kept waiting."""
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    @contextmanager
    def telling(self, number: RequestId) -> Iterator[None]:
        """Around what a question has to pass before it comes into the line, which tells of all else."""
        try:
            yield
        except ApiError as error:
            self._tell(refused(_cause(error), number))
            raise

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """Where one request's files may lie while the block runs, in a folder that is made at need."""
        folder = name_for("ovis-api-")
        try:
            yield folder
        finally:
            with anyio.CancelScope(shield=True):
                await self.aside(partial(shutil.rmtree, folder, ignore_errors=True))

    async def conversation(
        self, asked: ChatRequest, folder: Path, stop: Stop = NEVER, *, client: str
    ) -> files.Attached:  # fmt: skip
        """The request's conversation, its files in `folder`. Raises ApiError, and Stopped once `stop` is set."""
        limits = self._limits.for_clips(several=self.backend.status().model.several_clips)
        read = partial(
            files.conversation, asked.dialogue, asked.detail, folder, limits, allow_urls=self._allow_urls,
            stop=stop,
        )  # fmt: skip
        media = [one for said in asked.dialogue.said for one in said.media]
        fetches = self._allow_urls and any(map(files.is_address, media))
        try:
            if not media:
                return await self.aside(read)
            return await (self._fetchers if fetches else self._readers).run(read, client=client)
        except NoRoom as error:
            raise ApiError(507, str(error), retry=LOADING_SECONDS) from error
        except MediaError as error:
            raise ApiError(400, str(error), param="messages", code="invalid_media") from error
        except Busy as error:
            raise self._said(error) from error

    async def count(self, asked: ChatRequest, *, client: str) -> int:
        """Tokens of the request's prompt. Raises ApiError."""
        backend = self.backend
        if not isinstance(backend, Counts):
            raise ApiError(422, COUNTLESS)
        async with self.folder() as folder:
            attached = await self.conversation(asked, folder, client=client)
            request = Request(attached.conversation, asked.settings)
            try:
                count = await self._counters.run(partial(backend.count, request), client=client)
            except Exception as error:  # the edge of a request
                raise self._said(error) from None
        if count is None:
            raise ApiError(422, COUNTLESS)
        return count

    @asynccontextmanager
    async def events(self, request: Request) -> AsyncIterator[AsyncIterator[Event]]:
        """The backend's events. It is closed within one of them where the block ends before they do. Raises
        ApiError."""
        loop, arrived, gone = asyncio.get_running_loop(), asyncio.Queue[Event | ApiError | None](), Stop()

        def tell(what: Event | ApiError | None) -> None:
            with suppress(RuntimeError):  # the server ended meanwhile
                loop.call_soon_threadsafe(arrived.put_nowait, what)

        def work() -> None:
            end = None
            try:
                with closing(self.backend.stream(request)) as events:  # type: ignore[type-var]
                    for event in events:
                        if gone.is_set():
                            return
                        tell(event)
            except Exception as error:  # the edge of a thread
                end = self._said(error, request.id)
            tell(end)

        async def each() -> AsyncIterator[Event]:
            while (event := await arrived.get()) is not None:
                if isinstance(event, ApiError):
                    raise event
                yield event

        # On ZeroGPU the quota of whoever asks is found through the context.
        threading.Thread(target=copy_context().run, args=(work,), name="ovis-api", daemon=True).start()
        try:
            yield each()
        finally:
            gone.set()

    def _said(self, error: Exception, number: RequestId = NO_ID) -> ApiError:
        """What a client is told of an error: never the error itself, whose traceback would keep tensors."""
        log.info("refused (request %s): %s", number, type(error).__name__)
        match error:
            case Busy():
                return ApiError(429, str(error), code="rate_limit_exceeded", retry=BUSY_SECONDS)
            case RequestError() | MediaError():
                return ApiError(400, str(error))
            case UserError() if self.backend.status().phase not in ("ready", "answering"):
                return ApiError(503, str(error), retry=LOADING_SECONDS)
            case UserError():
                unexpected = kind_of(error) == "unexpected"
                return ApiError(500, reported(str(error), number) if unexpected else str(error))
            case Stopped():
                return ApiError(503, "The answer was stopped.")
        log.error("an answer failed (request %s)", number, exc_info=error)
        return ApiError(500, reported(UNEXPECTED, number))


def _cause(error: ApiError) -> UserError:
    """What an error is in the app's own terms."""
    if isinstance(error.__cause__, UserError):
        return error.__cause__
    return (RequestError if error.status < 500 else Busy if error.code == "overloaded" else BackendError)(str(error))
