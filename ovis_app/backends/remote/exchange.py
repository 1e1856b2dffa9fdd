"""One question to one server: written, fitted into its context, asked, tried again while nothing was said yet.

Learns which fields a server refuses and leaves them out from then on. Knows the API; refuses to know threads and who
waits: events and notes go to whoever passed `say` and `note`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from openai import APIError, APIStatusError, AsyncOpenAI, AsyncStream, OpenAIError

from ovis_app.backends.remote import failures
from ovis_app.backends.remote.client import Patience
from ovis_app.backends.remote.failures import BrokenOff, NoStream, Silent, TooLong
from ovis_app.backends.remote.messages import Written, session_id, written
from ovis_app.backends.remote.pictures import Pictures
from ovis_app.backends.remote.server import ServedModel
from ovis_app.backends.remote.stream import Reading, value
from ovis_app.conversation import Conversation
from ovis_app.errors import BackendError, RequestError, not_fitting
from ovis_app.generation import DROPPED_FOR, Done, Event, GenerationSettings, Request
from ovis_app.stop import Stop

log = logging.getLogger(__name__)

TOKENIZE = "/tokenize"
TEMPLATE = "chat_template_kwargs"
# What isn't said to a server that refuses it.
OPTIONAL = {"top_k", "repetition_penalty", "thinking_token_budget", "stream_options", "seed", TEMPLATE}
WORD = re.compile(r"\w+")
NOT_CONTINUED = "An answer of {} can't be continued from here: ask again, or ask it to go on."
CHARACTERS = 64  # of an answer, for each token that it may have: no token of a usual vocabulary is longer on average
ANSWER_TOKENS = 64  # kept for what stands behind a thought whose budget was spent


@dataclass(eq=False)
class Exchange:
    """`refused` are the fields that this server was seen not to take, and grows."""

    client: AsyncOpenAI
    model: ServedModel
    pictures: Pictures
    patience: Patience
    refused: set[str]
    say: Callable[[Event], None]
    note: Callable[[str], None]

    async def run(self, request: Request) -> None:
        """Says the events of an answer, `Done` the last. Raises UserError."""
        stop = Stop()
        try:
            await self._run(request, stop)
        finally:
            stop.set()  # a file that is still being read for it

    async def count(self, request: Request) -> int | None:
        """Tokens of the request's messages as the server counts them; None where it doesn't. Raises UserError."""
        stop = Stop()
        try:
            return await self._count(
                await self._written(request.conversation, request.settings, stop), request.settings
            )
        finally:
            stop.set()

    async def _written(self, conversation: Conversation, settings: GenerationSettings, stop: Stop) -> Written:
        return await asyncio.to_thread(
            written, conversation, settings, self.model.spec, self.pictures, note=self.note, stop=stop
        )

    async def _run(self, request: Request, stop: Stop) -> None:
        conversation, settings, dropped = request.conversation, request.settings, 0
        if conversation.begun is not None:  # servers have fields for it, and no way to say that they don't know them
            raise RequestError(NOT_CONTINUED.format(self.model.server.name))
        session, started = session_id(conversation), time.monotonic()
        while True:
            wrote = await self._written(conversation, settings, stop)
            shorter = conversation.without_oldest() if settings.drop_old_turns else None
            try:
                count, most = await self._fitted(wrote, settings, least=1 if shorter is None else DROPPED_FOR)
                reading = await self._ask(wrote, settings, most, session)
                break
            except TooLong as error:
                if shorter is None:
                    raise not_fitting(self.model.spec.name, error.tokens, self.model.spec.context) from error
                conversation, dropped = shorter, dropped + 1
            except failures.RAISED as error:
                raise failures.refusal(error, self.model) from error
        stats = reading.stats(
            started=started,
            prompt_tokens=count,
            frame_times=wrote.frame_times,
            seen=wrote.seen,
            dropped=dropped,
            engine=f"by {self.model.server.name}",
        )
        self.say(Done(reading.finish or "end", stats))

    # --- what fits ---------------------------------------------------------------------------------------------------

    async def _fitted(self, wrote: Written, settings: GenerationSettings, *, least: int) -> tuple[int, int]:
        """The tokens of the messages, 0 where nobody counted them, and how many new ones have room. They are counted
        only where they might not fit. Raises TooLong where fewer than `least` have."""
        context, wanted = self.model.spec.context, settings.max_new_tokens
        if wrote.tokens + wanted <= context:
            return 0, wanted
        count = await self._count(wrote, settings)
        if count is None:  # the server will say
            return 0, wanted
        if context - count < min(least, wanted):
            raise TooLong(count)
        return count, min(wanted, context - count)

    async def _count(self, wrote: Written, settings: GenerationSettings) -> int | None:
        """What /tokenize says; None where there is none."""
        if TOKENIZE in self.refused:
            return None
        body = {"model": self.model.id, "messages": list(wrote.messages), TEMPLATE: _template(settings)}
        self.note("Counting tokens")
        try:
            async with asyncio.timeout(self.patience.count):
                found = await self.client.post(self.model.server.root + TOKENIZE, cast_to=object, body=body)
        except (OpenAIError, BackendError, TimeoutError, ValueError, RecursionError) as error:
            log.info("%s doesn't count tokens: %s", self.model.server.name, type(error).__name__)
            if isinstance(error, APIStatusError) and error.status_code in (404, 405, 501):
                self.refused.add(TOKENIZE)
            return None
        return value(found, "count", int)

    # --- asking ------------------------------------------------------------------------------------------------------

    async def _ask(self, wrote: Written, settings: GenerationSettings, most: int, session: str) -> Reading:
        """The answer, read to its end. Raises TooLong, and what failures.RAISED lists."""
        pauses, limit = list(self.patience.pauses), most
        without = set(self.refused)
        while True:
            reading = Reading(thinking=settings.thinking, most=CHARACTERS * most + 4096)
            try:
                await self._stream(self._body(wrote, settings, limit, without), session, reading)
                self._learn(without)
                return reading
            except failures.RAISED as error:
                if reading.said:
                    raise
                refused = self._refused(error, without)
                if refused:
                    without |= refused
                elif failures.too_long(error):
                    if not limit:
                        raise TooLong from error
                    limit = 0  # the answer has what is left
                elif failures.passing(error) and pauses:
                    self.note(f"Trying {self.model.server.name} again")
                    await asyncio.sleep(pauses.pop(0))
                else:
                    raise

    async def _stream(self, body: dict[str, Any], session: str, reading: Reading) -> None:
        server = self.model.server.name
        self.note(f"Waiting for {server}")
        try:
            async with asyncio.timeout(self.patience.first):
                stream: AsyncStream[Any] = await self.client.chat.completions.create(
                    **body, extra_headers={"x-session-id": session}
                )
        except TimeoutError:
            raise Silent from None
        async with stream:
            kind = stream.response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in ("text/event-stream", "application/json"):
                raise NoStream(kind)
            whole = kind == "application/json"  # what stands between doesn't stream, or the server can't
            async for chunk in self._whole(stream) if whole else self._chunks(stream, reading):
                for event in reading.events(chunk):
                    self.say(event)
        if reading.finish is None:
            raise BrokenOff

    async def _chunks(self, stream: AsyncStream[Any], reading: Reading) -> AsyncIterator[object]:
        while True:
            try:
                async with asyncio.timeout(self.patience.silence if reading.said else self.patience.first):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise Silent from None
            yield chunk

    async def _whole(self, stream: AsyncStream[Any]) -> AsyncIterator[object]:
        """A whole answer as the one chunk that it is."""
        try:
            async with asyncio.timeout(self.patience.first):
                answer = json.loads(await stream.response.aread())
        except TimeoutError:
            raise Silent from None
        failed = value(answer, "error", object)
        if failed is not None:
            raise APIError("failed", stream.response.request, body=failed)
        yield answer

    def _body(self, wrote: Written, settings: GenerationSettings, most: int, without: set[str]) -> dict[str, Any]:
        """What is asked. Fields that not every server knows go past the SDK, and `without` some of them."""
        extra: dict[str, Any] = {"stream_options": {"include_usage": True}, TEMPLATE: _template(settings)}
        if settings.thinking and settings.thinking_budget is not None:
            room = (most or settings.max_new_tokens) - ANSWER_TOKENS
            extra["thinking_token_budget"] = max(min(settings.thinking_budget, room), 1)
        if settings.temperature > 0:
            extra |= {"top_p": settings.top_p, "top_k": settings.top_k}
        if settings.repetition_penalty != 1:
            extra["repetition_penalty"] = settings.repetition_penalty
        if settings.seed is not None:
            extra["seed"] = settings.seed
        if settings.stop:
            extra["stop"] = list(settings.stop)
        body: dict[str, Any] = {"model": self.model.id, "messages": list(wrote.messages), "stream": True}
        if most:
            body["max_tokens"] = most
        kept = {name: wanted for name, wanted in extra.items() if name not in without}
        return body | {"temperature": settings.temperature, "extra_body": kept}

    def _refused(self, error: Exception, without: set[str]) -> set[str]:
        """More fields to do without, where the server refused some: those that it names. A 422 that names none of them
        may be about any; what turns thinking off goes last."""
        if not isinstance(error, APIStatusError) or error.status_code not in (400, 422):
            return set()
        left = OPTIONAL - without
        named = left & {*WORD.findall(failures.told(error, self.model.server))}
        return named if named or error.status_code == 400 else left - {TEMPLATE} or left

    def _learn(self, without: set[str]) -> None:
        """What the server answered without isn't said to it again."""
        new = without - self.refused
        if new:
            log.warning("%s doesn't take %s: it answers without", self.model.server.name, ", ".join(sorted(new)))
        self.refused |= new


def _template(settings: GenerationSettings) -> dict[str, bool]:
    """Servers think unless they are told not to."""
    return {"enable_thinking": settings.thinking}
