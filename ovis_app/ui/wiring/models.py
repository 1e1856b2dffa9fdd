"""What looks at the backend's state and changes its model: the pill, the panel of models, the controls that follow.

The panel's module calls three endpoints: `offers` (what could answer), `change_model` and `cancel_change`. Holds no
logic: what there is to choose and to say comes from the backend, how it looks from panels, and who may choose is
decided for each request anew.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.events import api

from ovis_app.backend import Backend, Offer, OffersElsewhere, Status, several
from ovis_app.errors import RequestError, UserError
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.ui import model_choice
from ovis_app.ui.components import EXAMPLES, Components
from ovis_app.ui.facts import facts
from ovis_app.ui.http_hosts import may_choose
from ovis_app.ui.panels import header, models
from ovis_app.ui.static_files import StaticFiles
from ovis_app.ui.wiring.events import AT_ONCE, Updates
from ovis_app.zoo import ModelSpec

NOT_YOURS = "Only whoever runs this page may change its model."
NONE_CHOSEN = "Choose a model from the list, or name one of your own."

Said = dict[str, Any]  # to the panel's module


class _Handlers:
    """What the events do, for whoever asks."""

    def __init__(
        self, parts: Components, backend: Backend, settings: Settings, limits: Limits, static: StaticFiles
    ) -> None:  # fmt: skip
        self._limits, self._static = limits, static
        self._parts, self._panel, self._backend, self._settings = parts, parts.models, backend, settings
        self.inputs = [parts.model, parts.read]
        head = parts.header
        self.outlook = [head.status, head.timer, head.failure, head.why, self._panel.here, parts.model]
        self.outlook += [parts.view.facts, parts.header.model]
        self._asked_by = ""  # the session that began the last change: nobody else hears that it came to nothing

    def _allowed(self, request: gr.Request) -> bool:
        return may_choose(self._settings, request.client.host if request.client else "", request.headers)

    def _check(self, request: gr.Request) -> None:
        """Raises RequestError where whoever asks may not choose."""
        if not self._allowed(request):
            raise RequestError(NOT_YOURS)

    def _status(self, request: gr.Request) -> Status:
        """What is going on, as far as it is this tab's."""
        now = self._backend.status()
        return now if request.session_hash == self._asked_by else replace(now, problem="")

    def _told(self, now: Status, request: gr.Request) -> Said:
        allowed = self._allowed(request)
        cancellable = now.change is not None and now.change.cancellable and allowed
        return models.told(now, cancellable=cancellable, may_choose=allowed)

    def _offers(self, memory: int | None) -> list[Offer]:
        """What could answer here, or on a card with so many bytes."""
        try:
            if memory is not None and isinstance(self._backend, OffersElsewhere):
                return self._backend.offers_on(memory)
            return self._backend.offers()
        except UserError:  # of a device that isn't there: the pill says so
            return []

    def offers(self, request: gr.Request, asked: dict[str, Any]) -> Said:
        """What could answer, or why that isn't told."""
        try:
            self._check(request)
            memory = model_choice.card(asked)
        except UserError as error:
            return {"refused": str(error)}
        own = self._settings.backend != "remote"  # a server has its list alone
        return models.choice(self._offers(memory), memory, own=own)

    def change_model(self, request: gr.Request, asked: dict[str, Any]) -> Said:
        """Begins a change, to the model that answers, in other bits, where none is named; what goes on then, and why it
        couldn't begin."""
        refused = ""
        try:
            self._check(request)
            wanted, now = model_choice.wanted(asked), self._backend.status()
            name = wanted.name or ("" if wanted.way in (None, now.quantize) else now.model.id)
            if not name:
                raise RequestError(NONE_CHOSEN)
            self._backend.change(name, wanted.way)
            self._asked_by = str(request.session_hash)
        except UserError as error:
            refused = str(error)
        return {"refused": refused, "told": self._told(self._status(request), request)}

    def cancel_change(self, request: gr.Request, asked: dict[str, Any]) -> Said:
        """Ends a change; what goes on then, and why it couldn't."""
        refused = ""
        try:
            self._check(request)
            self._backend.cancel_change()
        except UserError as error:
            refused = str(error)
        return {"refused": refused, "told": self._told(self._status(request), request)}

    def look(self, shown: ModelSpec, read: str, request: gr.Request) -> Updates:
        """The outlook now; the controls only where they stood for another model."""
        parts, now = self._parts, self._status(request)
        follow: Updates = {}
        if now.model != shown:
            follow = {parts.header.model: now.model.name, **self.tell(request)}
        return {
            parts.header.status: header.pill_of(now, read),
            parts.header.timer: gr.Timer(header.next_look(now)),
            parts.header.failure: gr.update(visible=bool(now.why)),
            parts.header.why: header.why_of(now),
            self._panel.here: json.dumps(self._told(now, request)),
            parts.model: now.model,
            **follow,
        }

    def tell(self, request: gr.Request) -> Updates:
        """What the page's modules are to know."""
        spec, session = self._backend.status().model, str(request.session_hash)
        api_way, allowed = self._settings.api_way, self._allowed(request)
        others = several(self._backend) if allowed else {}
        told = facts(
            spec, session, limits=self._limits, static=self._static, folder=EXAMPLES, api=api_way, may_choose=allowed,
            fetches=self._settings.allow_urls, others=others,
        )  # fmt: skip
        return {self._parts.view.facts: told}

    def load_again(self, shown: ModelSpec, read: str, request: gr.Request) -> Updates:
        """For whoever asks: a question does the same."""
        self._backend.warm()
        return self.look(shown, read, request)

    def mark_read(self, request: gr.Request) -> Updates:
        """Whoever opens or closes the panel has read how the last change went."""
        now = self._status(request)
        return {self._parts.read: now.problem, self._parts.header.status: header.pill_of(now, now.problem)}


def wire(
    page: gr.Blocks, parts: Components, backend: Backend, settings: Settings, limits: Limits, static: StaticFiles
) -> None:  # fmt: skip
    panel, handlers = parts.models, _Handlers(parts, backend, settings, limits, static)
    page.load(handlers.tell, None, [parts.view.facts], **AT_ONCE)
    for seen in (page.load, parts.header.timer.tick):
        seen(handlers.look, handlers.inputs, handlers.outlook, **AT_ONCE)
    parts.header.load_again.click(handlers.load_again, handlers.inputs, handlers.outlook, **AT_ONCE)
    parts.header.model.click(None, js="() => window.ovis.toggle('models')")
    if not settings.choosable:
        return
    panel.here.look(handlers.look, handlers.inputs, handlers.outlook, **AT_ONCE)
    panel.here.read(handlers.mark_read, None, [parts.read, parts.header.status], **AT_ONCE)
    for call in (handlers.offers, handlers.change_model, handlers.cancel_change):
        api(call, api_name=call.__name__, api_visibility="private", queue=False)
