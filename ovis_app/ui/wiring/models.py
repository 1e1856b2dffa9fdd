"""What looks at the backend's state and changes its model: the pill, the panel of models, the controls that follow.

Holds no logic: what there is to choose and to say comes from the backend, how it looks from panels, and who may choose
is decided for each request anew.
"""

from __future__ import annotations

import gradio as gr

from ovis_app.backend import Backend
from ovis_app.errors import UserError
from ovis_app.settings import Settings
from ovis_app.ui.components import Components
from ovis_app.ui.http_hosts import may_choose
from ovis_app.ui.panels import header, models
from ovis_app.ui.wiring.events import AT_ONCE, NOTHING, Updates
from ovis_app.zoo import ModelSpec

NOT_YOURS = "Only whoever runs this page may change its model."
NONE_CHOSEN = "Choose a model from the list, or name one of your own."

Rows = list[tuple[str, str]]  # what is shown of a model, and its id


def wire(page: gr.Blocks, parts: Components, backend: Backend, settings: Settings) -> None:
    panel = parts.models
    inputs = [parts.model, panel.search, parts.read]
    outlook = [parts.header.status, parts.header.timer, panel.here, panel.progress, panel.cancel, parts.model]
    outlook += [*parts.controls, panel.rows, panel.listed]

    def allowed(request: gr.Request) -> bool:
        return may_choose(settings, request.client.host if request.client else "", request.headers)

    def others(wanted: str, listed: Rows, request: gr.Request) -> Updates:
        return fresh(wanted, listed, request) or NOTHING

    def fresh(wanted: str, listed: Rows, request: gr.Request) -> Updates:
        """The list of what else could answer, where that isn't the list that is shown: whether a model fits may have
        changed. What was chosen from another list is put away, as the browser would choose what stands in its place."""
        present = backend.status().model.id
        try:
            offers = [offer for offer in backend.offers() if offer.model.id != present] if allowed(request) else []
        except UserError:  # of a device that isn't there: the pill says so
            offers = []
        rows = models.found(offers, wanted)
        return {} if rows == listed else {panel.rows: rows, panel.listed: gr.update(choices=rows, value=None)}

    def look(shown: ModelSpec, wanted: str, read: str, request: gr.Request) -> Updates:
        """The outlook now; the controls only where they stood for another model."""
        now = backend.status()
        follow = {**parts.controls_for(now.model), **fresh(wanted, [], request)} if now.model != shown else {}
        return {
            parts.header.status: header.pill_of(now, read),
            parts.header.timer: gr.Timer(header.next_look(now)),
            panel.here: models.on_this_machine(now),
            panel.progress: models.coming(now),
            panel.cancel: gr.update(visible=now.change is not None and now.change.cancellable and allowed(request)),
            parts.model: now.model,
            **follow,
        }

    def change(shown: ModelSpec, wanted: str, read: str, name: str | None, request: gr.Request) -> Updates:
        refusal = ""
        try:
            if not allowed(request):
                refusal = models.refused(NOT_YOURS)
            elif not (name and name.strip()):
                refusal = models.refused(NONE_CHOSEN)
            else:
                backend.change(name.strip())
        except UserError as error:
            refusal = models.refused(str(error))
        return look(shown, wanted, read, request) | {panel.refusal: refusal}

    def cancel(shown: ModelSpec, wanted: str, read: str, request: gr.Request) -> Updates:
        if allowed(request):
            backend.cancel_change()
        return look(shown, wanted, read, request)

    def show_choice(request: gr.Request) -> Updates:
        # By a mark and not by an update of the column, which would draw it anew under whoever types into it.
        return {panel.may_choose: "<i></i>" if allowed(request) else ""}

    def mark_read() -> Updates:
        """Whoever opens or closes the panel has read how the last change went."""
        now = backend.status()
        return {parts.read: now.problem, parts.header.status: header.pill_of(now, now.problem)}

    for seen in (page.load, parts.header.timer.tick):
        seen(look, inputs, outlook, **AT_ONCE)
    for button in (parts.header.model, panel.close):
        button.click(None, js="() => window.ovis.toggle('models')")
    if not settings.choosable:
        return
    page.load(show_choice, None, panel.may_choose, **AT_ONCE)
    for asked in (parts.header.model.click, panel.search.change):
        asked(others, [panel.search, panel.rows], [panel.rows, panel.listed], trigger_mode="always_last", **AT_ONCE)
    panel.listed.change(lambda chosen: gr.update(interactive=bool(chosen)), [panel.listed], [panel.use], **AT_ONCE)
    for start, wanted in (
        (panel.use.click, panel.listed),
        (panel.own.submit, panel.own),
        (panel.use_own.click, panel.own),
    ):
        start(change, [*inputs, wanted], [*outlook, panel.refusal], **AT_ONCE)
        start(None, js="() => window.ovis.top('models')")
    panel.cancel.click(cancel, inputs, outlook, **AT_ONCE)
    panel.close.click(lambda: "", None, panel.refusal, **AT_ONCE)
    for opened in (parts.header.model.click, panel.close.click):
        opened(mark_read, None, [parts.read, parts.header.status], **AT_ONCE)
