"""What looks at the backend's state and changes its model: the pill, the panel of models, the controls that follow.

Holds no logic: what there is to choose and to say comes from the backend, how it looks from panels, and who may choose
is decided for each request anew.
"""

from __future__ import annotations

from dataclasses import replace

import gradio as gr

from ovis_app.backend import Backend, Offer, OffersElsewhere, Status, several
from ovis_app.errors import UserError
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.ui.components import EXAMPLES, Components
from ovis_app.ui.facts import facts
from ovis_app.ui.http_hosts import may_choose
from ovis_app.ui.panels import header, models
from ovis_app.ui.static_files import StaticFiles
from ovis_app.ui.wiring.events import AT_ONCE, Updates
from ovis_app.zoo import ModelSpec

NOT_YOURS = "Only whoever runs this page may change its model."
NONE_CHOSEN = "Choose a model from the list, or name one of your own."

Rows = list[tuple[str, str]]  # what is shown of a model, and its id


class _Handlers:
    """What the events do, for whoever asks."""

    def __init__(
        self, parts: Components, backend: Backend, settings: Settings, limits: Limits, static: StaticFiles
    ) -> None:  # fmt: skip
        self._limits, self._static = limits, static
        self._parts, self._panel, self._backend, self._settings = parts, parts.models, backend, settings
        panel = parts.models
        self.inputs = [parts.model, panel.search, parts.read]
        head = parts.header
        self.outlook = [
            head.status,
            head.timer,
            head.failure,
            head.why,
            panel.here,
            panel.progress,
            panel.cancel,
            parts.model,
        ]
        self.outlook += [parts.view.facts, *parts.controls, panel.rows, panel.listed, panel.fitting, panel.memory]
        self.outlook += [panel.wish]
        self._asked_by = ""  # the session that began the last change: nobody else hears that it came to nothing

    def _allowed(self, request: gr.Request) -> bool:
        return may_choose(self._settings, request.client.host if request.client else "", request.headers)

    def _status(self, request: gr.Request) -> Status:
        """What is going on, as far as it is this tab's."""
        now = self._backend.status()
        return now if request.session_hash == self._asked_by else replace(now, problem="")

    def others(
        self, wanted: str | None, listed: Rows, memory: str | None, wish: str | None, request: gr.Request
    ) -> Updates:
        return self._fresh(wanted, listed, request, memory, wish)

    def _offers(self, card: int | None, request: gr.Request) -> list[Offer]:
        """What could answer here, or on a card with so many bytes."""
        if not self._allowed(request):
            return []
        try:
            if card is not None and isinstance(self._backend, OffersElsewhere):
                return self._backend.offers_on(card)
            return self._backend.offers()
        except UserError:  # of a device that isn't there: the pill says so
            return []

    def _fresh(
        self, wanted: str | None, listed: Rows, request: gr.Request, memory: str | None = "", wish: str | None = None
    ) -> Updates:
        """What fits, and the list of what else could answer, where that isn't the list that is shown: it may have
        changed. What was chosen from another list is put away, as the browser would choose what stands in its place.
        `memory` is another machine's, where one was named."""
        present, card = self._backend.status().model.id, models.card_memory(memory)
        offers = self._offers(card, request)
        rows = models.found([offer for offer in offers if offer.model.id != present], wanted, wish)
        line = {self._panel.fitting: models.fitting(offers, card, wish)}
        if rows == listed:
            return line
        return {self._panel.rows: rows, self._panel.listed: gr.update(choices=rows, value=None), **line}

    def look(self, shown: ModelSpec, wanted: str | None, read: str, request: gr.Request) -> Updates:
        """The outlook now; the controls only where they stood for another model."""
        parts, panel, now = self._parts, self._panel, self._status(request)
        follow: Updates = {}
        if now.model != shown:
            follow = {**parts.controls_for(now.model), **self._fresh(wanted, [], request), **self.tell(request)}
            follow |= {self._panel.memory: ""}
        cancellable = now.change is not None and now.change.cancellable and self._allowed(request)
        return {
            parts.header.status: header.pill_of(now, read),
            parts.header.timer: gr.Timer(header.next_look(now)),
            parts.header.failure: gr.update(visible=bool(now.why)),
            parts.header.why: header.why_of(now),
            panel.here: models.on_this_machine(now),
            panel.progress: models.coming(now),
            panel.cancel: gr.update(visible=cancellable),
            parts.model: now.model,
            **follow,
        }

    def tell(self, request: gr.Request) -> Updates:
        """What the page's modules are to know."""
        spec, session = self._backend.status().model, str(request.session_hash)
        api, allowed = self._settings.api_way, self._allowed(request)
        others = several(self._backend) if allowed else {}
        told = facts(
            spec, session, limits=self._limits, static=self._static, folder=EXAMPLES, api=api, may_choose=allowed,
            fetches=self._settings.allow_urls, others=others,
        )  # fmt: skip
        return {self._parts.view.facts: told}

    def ways(self, chosen: str | None, memory: str | None, way: str | None, request: gr.Request) -> Updates:
        """What the weights of the chosen model can be, or of the one that answers."""
        panel, now = self._panel, self._backend.status()
        offers = self._offers(models.card_memory(memory), request)
        offer = next((one for one in offers if one.model.id == (chosen or now.model.id)), None)
        ways = gr.update(visible=False) if offer is None else models.ways_of(offer, way or now.quantize)
        return {panel.ways: ways, panel.use: gr.update(interactive=bool(chosen) or way not in (None, now.quantize))}

    def opened(self, chosen: str | None, memory: str | None, request: gr.Request) -> Updates:
        return self.ways(chosen, memory, None, request)

    def change_listed(
        self, shown: ModelSpec, wanted: str | None, read: str, name: str | None, way: str | None, request: gr.Request
    ) -> Updates:
        """To what is chosen in the list; where nothing is, the model that answers, in other bits."""
        now = self._backend.status()
        name = name or ("" if way in (None, now.quantize) else now.model.id)
        return self.change(shown, wanted, read, name, way, request)

    def change(
        self, shown: ModelSpec, wanted: str | None, read: str, name: str | None, way: str | None, request: gr.Request
    ) -> Updates:
        refusal = ""
        try:
            if not self._allowed(request):
                refusal = models.refused(NOT_YOURS)
            elif not (name and name.strip()):
                refusal = models.refused(NONE_CHOSEN)
            else:
                self._backend.change(name.strip(), way)
                self._asked_by = str(request.session_hash)
        except UserError as error:
            refusal = models.refused(str(error))
        return self.look(shown, wanted, read, request) | {self._panel.refusal: refusal}

    def cancel(self, shown: ModelSpec, wanted: str | None, read: str, request: gr.Request) -> Updates:
        if self._allowed(request):
            self._backend.cancel_change()
        return self.look(shown, wanted, read, request)

    def load_again(self, shown: ModelSpec, wanted: str | None, read: str, request: gr.Request) -> Updates:
        """For whoever asks: a question does the same."""
        self._backend.warm()
        return self.look(shown, wanted, read, request)

    def show_choice(self, request: gr.Request) -> Updates:
        # By a mark and not by an update of the column, which would draw it anew under whoever types into it.
        return {self._panel.may_choose: "<i></i>" if self._allowed(request) else ""}

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
    for button in (parts.header.model, panel.close):
        button.click(None, js="() => window.ovis.toggle('models')")
    if settings.choosable:
        _wire_choice(page, parts, handlers)


def _wire_choice(page: gr.Blocks, parts: Components, handlers: _Handlers) -> None:
    panel, inputs, outlook = parts.models, handlers.inputs, handlers.outlook
    page.load(handlers.show_choice, None, panel.may_choose, **AT_ONCE)
    for asked in (parts.header.model.click, panel.search.change, panel.memory.change, panel.wish.input):
        shown, listed = [panel.search, panel.rows, panel.memory, panel.wish], [panel.rows, panel.listed, panel.fitting]
        asked(handlers.others, shown, listed, trigger_mode="always_last", **AT_ONCE)
    for asked in (panel.listed.change, panel.ways.input):
        asked(handlers.ways, [panel.listed, panel.memory, panel.ways], [panel.ways, panel.use], **AT_ONCE)
    for asked in (parts.header.model.click, panel.memory.change):
        asked(handlers.opened, [panel.listed, panel.memory], [panel.ways, panel.use], **AT_ONCE)
    for start, wanted, change in (
        (panel.use.click, panel.listed, handlers.change_listed),
        (panel.own.submit, panel.own, handlers.change),
        (panel.use_own.click, panel.own, handlers.change),
    ):
        start(change, [*inputs, wanted, panel.ways], [*outlook, panel.refusal], **AT_ONCE)
        start(None, js="() => window.ovis.top('models')")
    panel.cancel.click(handlers.cancel, inputs, outlook, **AT_ONCE)
    panel.close.click(lambda: "", None, panel.refusal, **AT_ONCE)
    for opened in (parts.header.model.click, panel.close.click):
        opened(handlers.mark_read, None, [parts.read, parts.header.status], **AT_ONCE)
