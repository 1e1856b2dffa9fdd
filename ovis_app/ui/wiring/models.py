"""What looks at the backend's state and changes its model: the pill, the panel of models, the controls that follow.

Holds no logic: what there is to choose and to say comes from the backend, how it looks from panels, and who may choose
is decided for each request anew.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from ovis_app.generation import Backend, BackendError
from ovis_app.settings import Settings
from ovis_app.ui.components import Parts, controls_for
from ovis_app.ui.http_hosts import may_choose
from ovis_app.ui.panels import header, models
from ovis_app.zoo import ModelSpec

Wired = dict[str, Any]

NOT_YOURS = "Only whoever runs this page may change its model."


def wire(page: gr.Blocks, parts: Parts, backend: Backend, *, settings: Settings, at_once: Wired) -> None:
    """`at_once` are the options of events that only touch the page."""
    panel = parts.models
    follow = [*parts.controls, panel.listed]
    inputs = [parts.model, panel.search, parts.read]
    outlook = [parts.header.status, parts.header.timer, panel.progress, panel.cancel, parts.model, *follow]

    def allowed(request: gr.Request) -> bool:
        return may_choose(settings, request.client.host if request.client else "", request.headers)

    def others(wanted: str, request: gr.Request) -> Any:
        """The list of what else could answer; whether it fits may have changed."""
        present = backend.status().model.id
        try:
            offers = [offer for offer in backend.offers() if offer.model.id != present] if allowed(request) else []
        except BackendError:  # of a device that isn't there: the pill says so
            offers = []
        return gr.update(choices=models.found(offers, wanted), value=None)

    def look(shown: ModelSpec, wanted: str, read: str, request: gr.Request) -> list[Any]:
        """The outlook now; the controls only where they stood for another model."""
        now = backend.status()
        changed = now.model != shown
        return [
            header.pill_of(now, read),
            gr.Timer(header.next_look(now)),
            models.coming(now),
            gr.update(visible=now.change is not None and now.change.cancellable and allowed(request)),
            now.model,
            *([*controls_for(now.model), others(wanted, request)] if changed else [gr.skip()] * len(follow)),
        ]

    def change(shown: ModelSpec, wanted: str, read: str, name: str | None, request: gr.Request) -> list[Any]:
        refusal = ""
        try:
            if not allowed(request):
                refusal = models.refused(NOT_YOURS)
            elif name and name.strip():
                backend.change(name.strip())
        except BackendError as error:
            refusal = models.refused(str(error))
        return [*look(shown, wanted, read, request), refusal]

    def cancel(shown: ModelSpec, wanted: str, read: str, request: gr.Request) -> list[Any]:
        if allowed(request):
            backend.cancel_change()
        return look(shown, wanted, read, request)

    def show_choice(request: gr.Request) -> Any:
        return gr.update(visible=True if allowed(request) else "hidden")

    def mark_read() -> list[Any]:
        """Whoever opens or closes the panel has read how the last change went."""
        now = backend.status()
        return [now.problem, header.pill_of(now, now.problem)]

    for seen in (page.load, parts.header.timer.tick):
        seen(look, inputs, outlook, **at_once)
    for button in (parts.header.model, panel.close):
        button.click(None, js="() => window.ovis.toggle('models')")
    if not settings.choosable:
        return
    page.load(show_choice, None, panel.choice, **at_once)
    for begin in (parts.header.model.click, panel.search.change):
        begin(others, [panel.search], [panel.listed], trigger_mode="always_last", **at_once)
    panel.listed.change(lambda chosen: gr.update(interactive=bool(chosen)), [panel.listed], [panel.use], **at_once)
    for start, wanted in (
        (panel.use.click, panel.listed),
        (panel.own.submit, panel.own),
        (panel.use_own.click, panel.own),
    ):
        start(change, [*inputs, wanted], [*outlook, panel.refusal], **at_once)
        start(None, js="() => window.ovis.top('models')")
    panel.cancel.click(cancel, inputs, outlook, **at_once)
    panel.close.click(lambda: "", None, panel.refusal, **at_once)
    for opened in (parts.header.model.click, panel.close.click):
        opened(mark_read, None, [parts.read, parts.header.status], **at_once)
