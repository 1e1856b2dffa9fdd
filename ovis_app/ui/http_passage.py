"""One request on its way through Gradio, and Gradio's answer on its way back: the body is metered, what browsers must
hear is added, and what Gradio would say in its own words of a body or an event is said in ours.

Knows ASGI messages and how Gradio fails. Refuses to know which route it is, and what the body says.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto

from gradio.route_utils import FnIndexInferError
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from ovis_app.errors import UNEXPECTED
from ovis_app.request_id import NO_ID, RequestId, reported
from ovis_app.ui.http_answers import refusal
from ovis_app.ui.http_arrival import Arrival, Left
from ovis_app.ui.http_bodies import Refused
from ovis_app.ui.http_events import NO_SUCH_EVENT

log = logging.getLogger(__name__)

App = Callable[[Scope, Receive, Send], Awaitable[None]]

# What Gradio raises where an event's number, name or parameters are none of its own, or its body is no UTF-8 or holds
# what no JSON can repeat.
MISFITS = (FnIndexInferError, KeyError, TypeError, ValueError)
FAILURE = 500  # what Gradio answers where an event raises, with the sentence of a gr.Error or nothing
MISFIT = 422  # what FastAPI answers, with all that was sent, where a field isn't of its kind


class Stage(Enum):
    """How far it came. Past a refusal nothing that Gradio says goes out, unless its answer had begun."""

    SILENT = auto()  # nothing was said yet
    ANSWERING = auto()  # Gradio's answer goes out
    CUT_OFF = auto()  # Gradio's answer goes out, and the rest of the body was refused
    REFUSED = auto()  # the body was refused: the answer was ours
    UNFIT = auto()  # Gradio found that it fits no event: the answer will be ours
    FAILED = auto()  # the event failed, which is said once all of Gradio's answer is there


class Passage:
    """One request and its answer. Of an `event` that fits none Refused is raised."""

    def __init__(
        self, scope: Scope, arrival: Arrival, send: Send, headers: Mapping[str, str], *, event: bool
    ) -> None:  # fmt: skip
        self._scope, self._arrival, self._out, self._headers, self._event = scope, arrival, send, headers, event
        self._stage, self._failure = Stage.SILENT, b""

    async def through(self, app: App) -> None:
        """Lets Gradio answer, as long as the body keeps to its limits. Past them the answer is given at once, whatever
        is still on its way."""
        try:
            await app(self._scope, self._receive, self._send)
        except Exception as error:
            if self._stage in (Stage.REFUSED, Stage.CUT_OFF):  # whatever Gradio was reading
                return
            began = self._stage is Stage.ANSWERING
            if began and isinstance(error.__cause__, HTTPException):  # a stream of messages that nobody writes
                await self._out({"type": "http.response.body", "body": b""})
                return
            if began or not self._event or not isinstance(error, MISFITS):
                raise
            log.info("event refused: %s", type(error).__name__)
            raise Refused(400, NO_SUCH_EVENT) from None
        if self._stage is Stage.UNFIT:
            raise Refused(400, NO_SUCH_EVENT)

    async def _receive(self) -> Message:
        try:
            return await self._arrival.next()
        except Refused as error:
            told = isinstance(error, Left) or self._stage not in (Stage.SILENT, Stage.UNFIT)
            begun = self._stage in (Stage.ANSWERING, Stage.CUT_OFF)
            self._stage = Stage.CUT_OFF if begun else Stage.REFUSED
            if not told:
                await refusal(error, self._scope)(self._scope, self._arrival.next, self._out)
            # The one exception after which Gradio removes what it has stored of an upload.
            raise MultiPartException(str(error)) from None

    async def _send(self, message: Message) -> None:
        if self._stage in (Stage.REFUSED, Stage.UNFIT):
            return
        if message["type"] == "http.response.start":
            if self._event and message["status"] == MISFIT:
                self._stage = Stage.UNFIT
                return
            if self._event and message["status"] == FAILURE:
                self._stage = Stage.FAILED
                return
            self._stage = Stage.ANSWERING
            kept = [(name, value) for name, value in message.get("headers", ()) if name.decode() not in self._headers]
            ours = [(name.encode(), value.encode()) for name, value in self._headers.items()]
            message["headers"] = [*kept, *ours]
        if self._stage is Stage.FAILED:
            await self._fail(message)
            return
        await self._out(message)

    async def _fail(self, message: Message) -> None:
        """What Gradio says of an event that failed is a sentence of ours, or nothing. Whoever raised it may have noted
        the status that it deserves."""
        self._failure += message.get("body", b"")
        if message.get("more_body", False):
            return
        sentence, status = sentence_in(self._failure), self._scope["state"].get("status", FAILURE)
        said = JSONResponse({"error": sentence or self._unexpected()}, status if sentence else FAILURE, self._headers)
        self._stage = Stage.ANSWERING
        await said(self._scope, self._arrival.next, self._out)

    def _unexpected(self) -> str:
        request_id: RequestId = self._scope["state"].get("request_id", NO_ID)
        log.warning("an event failed (request %s)", request_id)
        return reported(UNEXPECTED, request_id)


def sentence_in(body: bytes) -> str:
    """What an error of Gradio says; nothing where it was none of ours."""
    try:
        said = json.loads(body)
    except ValueError:
        return ""
    error = said.get("error") if isinstance(said, dict) else None
    return error if isinstance(error, str) else ""
