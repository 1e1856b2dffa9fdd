"""What the page's own modules call, by name: `ask` (a question, answered in frames), `sees` (how a picture of one is
seen), `reads` (a picture of one, as Markdown), `bring` (a file, looked at), `weigh` (a question, before it is asked),
`hurry` (an answer whose thought is to end), `moments` and `pages` (what of a file there is to choose among), `rows`
(the questions of a table) and `fits` (whether an answer has the shape of a schema).

Gradio's events, so its queue, its cancelling and ZeroGPU's quota are theirs; called over HTTP as any program would, and
every value that comes is checked. Keeps nothing of a conversation.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import gradio as gr
from gradio.events import api
from starlette.requests import HTTPConnection

from ovis_app import chat
from ovis_app.api.callers import forget, id_of
from ovis_app.api.driven import driven
from ovis_app.api.gradio_endpoints import gives
from ovis_app.backend import Backend, Weighs, answering
from ovis_app.errors import RequestError, UserError
from ovis_app.generation import Request
from ovis_app.limits import Limits
from ovis_app.media.file_store import FileStore, session_holder
from ovis_app.outcomes import Outcome, Tell, What, nobody, refused
from ovis_app.private_folder import name_for
from ovis_app.settings import Settings
from ovis_app.stop import Haste
from ovis_app.ui import asking, choosing, frames, many, page_reading, seeing, unread, weighing
from ovis_app.ui.aside import aside
from ovis_app.ui.asking import Missing
from ovis_app.ui.bringing import brought, limits_for
from ovis_app.ui.http_hosts import may_choose
from ovis_app.zoo import ModelSpec

NOT_YOURS = "Only whoever runs this page may choose the model that answers."
Answer = Callable[[Request, Haste], Generator[list[frames.Frame], None, None]]

BEAT_SECONDS = 0.5  # between two frames at most: so a reader who left is noticed, and a reader notices a silence
ALONE_SECONDS = 8.0  # that an answer goes on before anybody comes for it; the page comes at once
NOBODY = "Nobody came for this answer, so it was ended: ask again."


def add(
    page: gr.Blocks, backend: Backend, limits: Limits, store: FileStore, *, version: str, settings: Settings,
    tell: Tell = nobody,
) -> None:  # fmt: skip
    """Adds them to the page. `version` is the page's, which each answer begins with; `tell` hears of uploads that are
    refused once they are looked at, and of questions that are before they come into the line."""
    at_once = settings.asked_at_once
    calls = Endpoints(backend, limits, store, version, anyio.CapacityLimiter(at_once), settings, tell)
    with page:
        for slow in (calls.ask, calls.sees, calls.reads):
            name = slow.__name__
            api(slow, api_name=name, api_visibility="private", concurrency_id="answers", concurrency_limit=at_once)
        for quick in (calls.bring, calls.moments, calls.pages, calls.weigh, calls.hurry, calls.rows, calls.fits):
            api(quick, api_name=quick.__name__, api_visibility="private", queue=False)


@dataclass(frozen=True, eq=False)
class Endpoints:
    """All of them, for whoever asks. `threads` are those in which answers wait for the backend, `running` the answers
    under way by their session and what it calls them."""

    backend: Backend
    limits: Limits
    store: FileStore
    version: str
    threads: anyio.CapacityLimiter
    settings: Settings
    tell: Tell = nobody
    running: dict[tuple[str, str], Haste] = field(default_factory=dict)

    @gives(dict[str, Any])
    async def ask(self, request: gr.Request, asked: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The answer to a question, in numbered frames; the first before any work, so that closing always lands."""
        async with aclosing(_numbered(self._frames(request, asked, self._states))) as said:
            async for frame in said:
                yield frame

    @gives(dict[str, Any])
    async def sees(self, request: gr.Request, looks: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """How one of a question's pictures is seen, in numbered frames as `ask` has them. `looks` is a question as it
        is asked there, and the place of the picture among its files."""

        def answer(wanted: Request, _: Haste) -> Generator[list[frames.Frame], None, None]:
            return seeing.looking(self.backend, wanted, seeing.place_in(looks))

        async with aclosing(_numbered(self._frames(request, looks, answer, "look"))) as said:
            async for frame in said:
                yield frame

    @gives(dict[str, Any])
    async def reads(self, request: gr.Request, asked: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The one picture of a question as Markdown, in frames as `ask` has them, asked in the model's words."""

        def answer(wanted: Request, _: Haste) -> Generator[list[frames.Frame], None, None]:
            holder = session_holder(asking.session_in(asked))
            return page_reading.reading(self.backend, wanted, self.store, holder, self.limits)

        async with aclosing(_numbered(self._frames(request, asked, answer))) as said:
            async for frame in said:
                yield frame

    async def _frames(
        self, request: gr.Request, asked: object, answer: Answer, what: What = "answer"
    ) -> AsyncGenerator[frames.Frame, None]:
        yield {"kind": "begun", "version": self.version}
        own = name_for("ovis-ask-")
        try:
            model = self._model(request, asked)
            spec = answering(self.backend, model)
            limits = limits_for(spec, self.limits)
            wanted = asking.question(asked, spec, limits)
            who = client_of(request, wanted.session)
            read = partial(asking.conversation, wanted, self.store, limits, own)
            conversation = await aside(read, client=who) if wanted.has_files else read()
            haste = Haste()
            states = answer(Request(conversation, wanted.settings, who, haste, model, id_of(request)), haste)
            with self.store.reading(wanted.holder), self._named((wanted.session, asking.answer_in(asked)), haste):
                async with aclosing(driven(states, self.threads)) as steps:
                    async for frame in _paced(steps):
                        if unread.seconds(request.session_hash) > ALONE_SECONDS:
                            yield frames.failed(NOBODY)
                            return
                        yield frame
        except Missing as error:
            yield {"kind": "missing", "files": list(error.numbers)}
        except UserError as error:  # before it came into the line, which tells of all else
            self.tell(refused(error, id_of(request), what))
            yield frames.failed(str(error))
        finally:
            shutil.rmtree(own, ignore_errors=True)
            forget(request)

    def _model(self, request: gr.Request, asked: object) -> str:
        """The model that is to answer this question alone; empty: the one that answers all. Raises RequestError."""
        model = asking.model_in(asked)
        peer = request.client.host if model and request.client else ""
        if model and not may_choose(self.settings, peer, request.headers):
            raise RequestError(NOT_YOURS)
        return model

    @contextmanager
    def _named(self, name: tuple[str, str], haste: Haste) -> Iterator[None]:
        """While the block runs, the answer is found by its name."""
        self.running[name] = haste
        try:
            yield
        finally:
            if self.running.get(name) is haste:
                del self.running[name]

    def _states(self, request: Request, haste: Haste) -> Generator[list[frames.Frame], None, None]:
        with closing(chat.reply(self.backend, request)) as states:
            begun = request.conversation.begun or frames.NOTHING
            paced = chat.paced(frames.timed(states, clock=time.monotonic, begun=begun))
            yield from frames.changes(paced, begun=begun, budget=lambda: haste.budget)

    async def bring(self, request: gr.Request, brings: dict[str, Any]) -> dict[str, Any]:
        """What the upload is that a tab names, or why it can't be sent."""
        spec = self.backend.status().model
        look = partial(brought, limits=limits_for(spec, self.limits), spec=spec)
        found = await self._read(request, brings, look)
        if "refused" in found:
            self.tell(Outcome("upload", error="media", request=id_of(request)))
        return found

    async def moments(self, request: gr.Request, asked: dict[str, Any]) -> dict[str, Any]:
        """The frames of a tab's clip that its question would show."""
        return await self._read(request, asked, partial(choosing.moments, limits=self.limits))

    async def pages(self, request: gr.Request, asked: dict[str, Any]) -> dict[str, Any]:
        """Pages of a tab's document, small."""
        return await self._read(request, asked, partial(choosing.pages, limits=self.limits))

    async def rows(self, request: gr.Request, asked: dict[str, Any]) -> dict[str, Any]:
        """The questions of a tab's table, or why there are none."""
        return await self._read(request, asked, many.rows)

    async def fits(self, request: gr.Request, asked: dict[str, Any]) -> dict[str, Any]:
        """Whether an answer has the shape that a tab wants."""
        return await self._read(request, asked, many.fits)

    async def _read(
        self, request: gr.Request, asked: dict[str, Any], look: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        """What `look` finds of a file that a tab names, or why it finds nothing."""
        try:
            session = asking.session_in(asked)
            work = partial(look, asked, session_holder(session), store=self.store)
            return await aside(work, client=client_of(request, session))
        except UserError as error:
            return {"refused": str(error)}

    async def hurry(self, wants: dict[str, Any]) -> dict[str, bool]:
        """Ends the thought of an answer under way, of the tab that asked for it. Whether there was one."""
        try:
            haste = self.running.get((asking.session_in(wants), asking.answer_in(wants)))
        except UserError:
            haste = None
        return {"ended": haste is not None and haste.ask()}

    async def weigh(self, request: gr.Request, asked: dict[str, Any]) -> dict[str, Any]:
        """What a question would take of the context; nothing where nobody can tell, or why it can't be asked."""
        try:
            spec = self.backend.status().model
            limits = limits_for(spec, self.limits)
            wanted = asking.question(asked, spec, limits)
            work = partial(self._weighed, wanted, spec, limits)
            return await aside(work, client=client_of(request, wanted.session))
        except UserError as error:
            return {"refused": str(error)}

    def _weighed(self, wanted: asking.Question, spec: ModelSpec, limits: Limits) -> dict[str, Any]:
        if not isinstance(self.backend, Weighs):
            return {}
        request = chat.stamped(Request(weighing.told(wanted, limits), wanted.settings))
        weight = self.backend.weigh(request)
        return {} if weight is None else weighing.as_json(weight, request.conversation, spec, limits)


async def _numbered(said: AsyncGenerator[frames.Frame, None]) -> AsyncGenerator[frames.Frame, None]:
    number = 0
    async with aclosing(said):
        async for frame in said:
            yield {"seq": number, **frame}
            number += 1


async def _paced(steps: AsyncIterator[list[frames.Frame]]) -> AsyncGenerator[frames.Frame, None]:
    """All frames, and a sign of life where none came for a while."""
    told = time.monotonic()
    async for several in steps:
        now = time.monotonic()
        if not several and now - told >= BEAT_SECONDS:
            several = [{"kind": "beat"}]
        for frame in several:
            yield frame
            told = now


def client_of(request: gr.Request | HTTPConnection, session: str) -> str:
    """Who asks: where they are, if that is known, since a session's name anybody may make up."""
    visitor = getattr(getattr(request, "state", None), "visitor", "")
    return f"address:{visitor}" if visitor else f"page:{session}"
