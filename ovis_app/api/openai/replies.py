"""An answer on its way to a client: at once or as server-sent events, and stopped when the client leaves.

Knows HTTP messages; refuses to know what is in a request, and who may ask.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from ovis_app.api.openai.fields import ApiError
from ovis_app.api.openai.protocol import ChatRequest, Completion
from ovis_app.api.openai.serving import Load, Serving
from ovis_app.conversation import Stats
from ovis_app.errors import api_error
from ovis_app.generation import Answer, Done, Event, Recast, Request, Thinking, Waiting
from ovis_app.request_id import RequestId
from ovis_app.stop import Stop, Stopped

HOLD_SECONDS = 10.0  # that a stream's headers wait for the first word, so that a refusal still has its status
HEARTBEAT_SECONDS = 5.0  # between two signs of life while nothing is said
HEARTBEAT = b": waiting\n\n"
STREAM = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"),
          (b"x-accel-buffering", b"no")]  # fmt: skip


def refused(error: ApiError) -> JSONResponse:
    """An error in the shape that clients know."""
    headers = {} if error.retry is None else {"retry-after": str(error.retry)}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    body = api_error(str(error), error.status, param=error.param, code=error.code)
    return JSONResponse(body, error.status, headers)


class Reply:
    """The answer to a chat completion, as a response: nothing is done before it is sent. What was asked isn't kept,
    since its pictures are large; `load` is released once they lie on the disk."""

    def __init__(
        self, serving: Serving, asked: ChatRequest, load: Load, *, client: str, model: str, id: RequestId
    ) -> None:
        self._serving, self._unread, self._load = serving, [asked], load
        self._client, self._id = client, id
        self._stream, self._include_usage = asked.stream, asked.include_usage
        self._completion, self._notes = Completion(model), tuple[str, ...]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = Stop()  # for what runs in a thread, which can't be cancelled
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                left.set()
                group.cancel_scope.cancel()

            group.start_soon(watch)
            try:
                async with (
                    self._serving.folder() as folder,
                    self._serving.events(await self._read(folder, left)) as events,
                ):
                    answer = self._streamed if self._stream else self._whole
                    await answer(events, scope, receive, send)
            except ApiError as error:
                await refused(error)(scope, receive, send)
            except Stopped:
                pass
            finally:
                self._load.release()
            group.cancel_scope.cancel()

    async def _read(self, folder: Path, stop: Stop) -> Request:
        """What the backend is asked. Raises ApiError, and Stopped once `stop` is set."""
        asked = self._unread.pop()
        with self._serving.telling(self._id):
            attached = await self._serving.conversation(asked, folder, stop, client=self._client)
        self._load.release()
        self._notes = attached.notes
        return Request(attached.conversation, asked.settings, client=self._client, id=self._id)

    async def _whole(self, events: AsyncIterator[Event], scope: Scope, receive: Receive, send: Send) -> None:
        reasoning = text = ""
        async for event in events:
            match event:
                case Thinking(more):
                    reasoning += more
                case Answer(more):
                    text += more
                case Recast():
                    reasoning, text = reasoning + text, ""
                case Done(finish, stats):
                    stats = replace(stats, notes=self._notes)
                    body = self._completion.whole(text=text, reasoning=reasoning, finish=finish, stats=stats)
                    await JSONResponse(body)(scope, receive, send)

    async def _streamed(self, events: AsyncIterator[Event], scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ApiError as long as nothing was sent; later an error is the last thing that is said."""
        began = False
        try:
            async with aclosing(self._parts(events)) as parts:  # type: ignore[type-var]
                async for part in parts:
                    if not began:
                        await send({"type": "http.response.start", "status": 200, "headers": STREAM})
                    began = True
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        except ApiError as error:
            if not began:
                raise
            said = sent(api_error(str(error), error.status, param=error.param, code=error.code))
            await send({"type": "http.response.body", "body": said, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _parts(self, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
        chunk, said = self._completion.chunk, ""
        spoken = time.monotonic() + HOLD_SECONDS - HEARTBEAT_SECONDS
        opened = False
        async for event in events:
            if isinstance(event, Waiting):
                if time.monotonic() - spoken > HEARTBEAT_SECONDS:
                    spoken = time.monotonic()
                    yield HEARTBEAT
                continue
            if not opened:
                yield sent(chunk({"role": "assistant", "content": ""}))
            opened, spoken = True, time.monotonic()
            match event:
                case Thinking(text) if text:
                    yield sent(chunk({"reasoning": text}))
                case Answer(text) if text:
                    said += text
                    yield sent(chunk({"content": text}))
                case Recast():  # what was sent can't be taken back: it is said again as what it was
                    yield sent(chunk({"reasoning": said}))
                case Done(finish, stats):
                    for last in self._ends(finish, replace(stats, notes=self._notes)):
                        yield last

    def _ends(self, finish: Any, stats: Stats) -> list[bytes]:
        ends = [sent(self._completion.chunk({}, finish))]
        return [*ends, sent(self._completion.last(stats))] if self._include_usage else ends


def sent(value: object) -> bytes:
    """A server-sent event."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode("utf-8", "replace")
