"""What looks at the backend's state and changes its model: the pill, the panel of models, the controls that follow.

Holds no logic: what there is to choose and to say comes from the backend, how it looks from panels.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from ovis_app.backend import Backend
from ovis_app.errors import BackendError
from ovis_app.ui.components import Parts, controls_for
from ovis_app.ui.panels import header, models
from ovis_app.zoo import ModelSpec

Wired = dict[str, Any]


def wire(page: gr.Blocks, parts: Parts, backend: Backend, *, choosable: bool, at_once: Wired) -> None:
    """`at_once` are the options of events that only touch the page."""
    panel = parts.models
    follow = [*parts.controls, panel.listed]
    inputs = [parts.model, panel.search, parts.read]
    outlook = [parts.header.status, parts.header.timer, panel.progress, panel.cancel, parts.model, *follow]

    def others(wanted: str = "") -> Any:
        """The list of what else could answer; whether it fits may have changed."""
        present = backend.status().model.id
        try:
            offers = [offer for offer in backend.offers() if offer.model.id != present] if choosable else []
        except BackendError:  # of a device that isn't there: the pill says so
            offers = []
        return gr.update(choices=models.found(offers, wanted), value=None)

    def look(shown: ModelSpec, wanted: str, read: str) -> list[Any]:
        """The outlook now; the controls only where they stood for another model."""
        now = backend.status()
        changed = now.model != shown
        return [
            header.pill_of(now, read),
            gr.Timer(header.next_look(now)),
            models.coming(now),
            gr.update(visible=now.change is not None and now.change.cancellable),
            now.model,
            *([*controls_for(now.model), others(wanted)] if changed else [gr.skip()] * len(follow)),
        ]

    def change(shown: ModelSpec, wanted: str, read: str, name: str | None) -> list[Any]:
        refusal = ""
        try:
            if name and name.strip():
                backend.change(name.strip())
        except BackendError as error:
            refusal = models.refused(str(error))
        return [*look(shown, wanted, read), refusal]

    def cancel(shown: ModelSpec, wanted: str, read: str) -> list[Any]:
        backend.cancel_change()
        return look(shown, wanted, read)

    def mark_read() -> list[Any]:
        """Whoever opens or closes the panel has read how the last change went."""
        now = backend.status()
        return [now.problem, header.pill_of(now, now.problem)]

    for seen in (page.load, parts.header.timer.tick):
        seen(look, inputs, outlook, **at_once)
    for button in (parts.header.model, panel.close):
        button.click(None, js="() => window.ovis.toggle('models')")
    if not choosable:
        return
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
