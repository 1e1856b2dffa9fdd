"""Servers that answer in place of a model here: which models they have, which of them is asked, and how they are.

Nothing of it computes, so many answer at once; a server's list is asked for again while somebody looks at the status.
Knows the loop and who has left; how one question is asked is in exchange.py.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue

from openai import APIStatusError, AsyncOpenAI

from ovis_app import zoo
from ovis_app.backend import Offer, ServerStatus, Status, answering
from ovis_app.backends.remote import failures
from ovis_app.backends.remote.client import Patience, client
from ovis_app.backends.remote.exchange import Exchange
from ovis_app.backends.remote.failures import NoList
from ovis_app.backends.remote.loop import Loop
from ovis_app.backends.remote.pictures import Pictures
from ovis_app.backends.remote.server import ServedModel, Server, means, served_model, served_models
from ovis_app.backends.sights import outlined
from ovis_app.backends.validation import checked
from ovis_app.errors import TOO_LONG, BackendError
from ovis_app.generation import Event, Request, Waiting
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.sight import Sight
from ovis_app.zoo import ModelSpec

log = logging.getLogger(__name__)

HEARTBEAT = 0.1  # seconds: a generator can only be closed where it yields
ENDED = "The app is ending: ask again once it runs."


def _unheard(_: object) -> None:
    """For whoever waits for a number alone."""


@dataclass(eq=False)
class Known:
    """What is known of a server. Only the loop writes it."""

    server: Server
    client: AsyncOpenAI
    models: tuple[ServedModel, ...] = ()
    up: bool | None = None
    problem: str = ""  # in a few words
    sentence: str = ""  # the same, and what to do
    asked: float = float("-inf")  # time.monotonic() of the last list
    asking: Future[None] | None = None
    refused: set[str] = field(default_factory=set)

    @property
    def status(self) -> ServerStatus:
        return ServerStatus(self.server.name, self.up, self.problem)


class RemoteBackend:
    """Answers by servers. `stream` may be called from any thread."""

    def __init__(
        self, servers: Sequence[Server], settings: Settings, limits: Limits, *, patience: Patience | None = None
    ) -> None:
        self.settings, self.limits = settings, limits
        self._patience = patience or Patience()
        self._loop = Loop("ovis-remote")
        self._known = tuple(Known(server, client(server, self._patience)) for server in servers)
        self._pictures = Pictures(limits)
        asked = settings.model if settings.backend == "remote" else ""
        self._wanted = "" if asked == Settings.model else asked  # a name; empty: the first that there is
        self._running: set[Future[None]] = set()
        atexit.register(self.close)

    # --- which models there are --------------------------------------------------------------------------------------

    def warm(self) -> None:
        """Begins to ask the servers for their models, and returns at once."""
        self._look()

    def status(self) -> Status:
        self._look()
        model, servers = self._picked(), tuple(known.status for known in self._known)
        if model is None:
            problem = next((known.problem for known in self._known if known.problem), "")
            if any(known.up is None for known in self._known):
                return Status(self._unknown(), "starting", "Asking for models", servers=servers)
            return Status(self._unknown(), "failed", problem or "no such model there", servers=servers)
        known = self._of(model.server)
        if known.up is False:
            return Status(model.spec, "failed", known.problem, servers=servers)
        if self._running:
            return Status(model.spec, "answering", "answering", servers=servers)
        return Status(model.spec, "ready", "ready", servers=servers)

    def offers(self) -> list[Offer]:
        self._wait_for_lists()
        return [Offer(model.spec, "fits", 0, 0, server=known.status) for known in self._known for model in known.models]

    def several(self) -> dict[str, ModelSpec]:
        """See `backend.Several`: the models of servers that are up."""
        self._look()
        return {model.spec.id: model.spec for known in self._known if known.up for model in known.models}

    def offered(self, name: str) -> bool:
        """Whether `name` is the id of one of `offers`."""
        return any(name == model.spec.id for known in self._known for model in known.models)

    def change(self, name: str, quantize: str | None = None) -> None:
        model = next((one for one in self._models() if means(name, one)), None)
        if model is None:
            raise self._absent(name)
        if model == self._picked():
            raise BackendError(f"{model.spec.name} answers already.")
        self._wanted = model.spec.id

    def cancel_change(self) -> None:
        """Nothing takes its time."""

    def wait_for_model(self) -> ModelSpec:
        """The model that will answer, once its server told what it has. Raises BackendError where none does."""
        self._wait_for_lists()
        return self._must_pick().spec

    def _models(self) -> list[ServedModel]:
        return [model for known in self._known for model in known.models]

    def _picked(self) -> ServedModel | None:
        """The model that is asked, if its server was heard of. The first choice stays, once all were heard of."""
        models = self._models()
        if self._wanted:
            return next((model for model in models if means(self._wanted, model)), None)
        if models and all(known.up is not None for known in self._known):
            self._wanted = models[0].spec.id
        return models[0] if models else None

    def _must_pick(self, name: str = "") -> ServedModel:
        """The model of this name, or the one that is asked. Raises BackendError."""
        model = next((one for one in self._models() if one.spec.id == name), None) if name else self._picked()
        if model is not None:
            return model
        sentence = next((known.sentence for known in self._known if known.sentence), "")
        if sentence:
            raise BackendError(sentence)
        raise self._absent(name or self._wanted)

    def _absent(self, name: str) -> BackendError:
        there = ", ".join(model.id for model in self._models()[:5])
        if not there:
            return BackendError("The server lists no model: name one that it has with --model.")
        return BackendError(f"No server offers {name}: choose one of {there}.")

    def _unknown(self) -> ModelSpec:
        """What stands for a model that no server has told of yet."""
        named = zoo.find(self._wanted) if self._wanted else None
        row, where = named or replace(zoo.FAMILY_ROWS["ovis2_5"], licence=""), self._known[0].server.name
        return replace(
            row,
            id=where,
            name=self._wanted or where,
            about=f"A model of {where}.",
            bundled=False,
            guessed=True,
            several_clips=False,
        )

    def _of(self, server: Server) -> Known:
        return next(known for known in self._known if known.server == server)

    def _look(self) -> list[Future[None]]:
        """Asks for the lists that are no longer fresh. What is being asked."""
        now = time.monotonic()
        for known in self._known:
            old = now - known.asked > (self._patience.fresh if known.up else self._patience.down)
            if old and (known.asking is None or known.asking.done()):
                known.asking = self._loop.start(self._ask_for_models(known))
        return [known.asking for known in self._known if known.asking is not None and not known.asking.done()]

    def _wait_for_lists(self) -> None:
        """Until each server was heard of once. After that what is known serves: one that is down may take long to say
        nothing."""
        self._look()
        for known in self._known:
            if known.up is None and known.asking is not None:
                try:
                    known.asking.result()
                except CancelledError:
                    raise BackendError(ENDED) from None

    async def _ask_for_models(self, known: Known) -> None:
        """Hears from a server what it has, or why it doesn't say."""
        server, models = known.server, known.models
        words, sentence = "", ""
        try:
            async with asyncio.timeout(self._patience.listing):
                listed = await known.client.get("/models", cast_to=object)
            models = served_models(server, listed)
            if not models:
                raise NoList
        except (*failures.RAISED, NoList, BackendError, TimeoutError) as error:
            lists_none = isinstance(error, APIStatusError) and error.status_code in (404, 405)
            if lists_none and self._wanted and not models:  # it may answer all the same
                models = (served_model(server, self._wanted),)
            else:
                words, sentence = failures.unlisted(error, server)
        if words and words != known.problem:
            log.warning("%s", words)
        known.models, known.up, known.problem, known.sentence = models, not words, words, sentence
        known.asked = time.monotonic()

    # --- answers -----------------------------------------------------------------------------------------------------

    def stream(self, request: Request) -> Iterator[Event]:
        request.settings.check()
        told: SimpleQueue[Event | None] = SimpleQueue()
        notes = ["Waiting for the server"]
        work = self._loop.start(self._answer(request, told, notes))
        self._running.add(work)
        work.add_done_callback(lambda _: told.put(None))
        try:
            while True:
                try:
                    event = told.get(timeout=HEARTBEAT)
                except Empty:
                    event = Waiting(notes[-1])
                if event is None:
                    break
                yield event
            work.result()
        except CancelledError:
            raise BackendError(ENDED) from None
        finally:
            self._running.discard(work)
            work.cancel()

    async def _answer(self, request: Request, told: SimpleQueue[Event | None], notes: list[str]) -> None:
        """In the loop: asks the server. Raises UserError."""
        exchange = await self._exchange(request.model, told.put, notes.append)
        try:
            async with asyncio.timeout(self.settings.deadline):
                await exchange.run(checked(request, exchange.model.spec, self.limits))
        except TimeoutError:
            raise BackendError(TOO_LONG) from None

    async def _exchange(self, name: str, say: Callable[[Event], None], note: Callable[[str], None]) -> Exchange:
        """With the server of this model, or the one that answers, once it is known. Raises BackendError where none
        does."""
        asking = [asyncio.wrap_future(future) for future in self._look()] if self._picked() is None else []
        if asking:
            await asyncio.wait(asking)
        model = self._must_pick(name)
        known = self._of(model.server)
        return Exchange(known.client, model, self._pictures, self._patience, known.refused, say, note)

    def count(self, request: Request) -> int | None:
        """See `backend.Counts`."""
        try:
            return self._loop.start(self._count(request)).result()
        except CancelledError:
            raise BackendError(ENDED) from None

    async def _count(self, request: Request) -> int | None:
        exchange = await self._exchange(request.model, _unheard, _unheard)
        return await exchange.count(checked(request, exchange.model.spec, self.limits))

    def sees(self, request: Request, place: int) -> Iterator[Waiting | Sight]:
        """See `backend.Sees`: how a picture is divided, as far as its family tells; no server says more."""
        yield outlined(request, place, answering(self, request.model), self.limits)

    def close(self) -> None:
        """Ends what is running, and closes all connections."""
        atexit.unregister(self.close)
        self._loop.close(*(known.client.close() for known in self._known))
