"""What changes the last question, and what only opens, closes and resets."""

from __future__ import annotations

from typing import Any

from ovis_app.backend import Backend
from ovis_app.media.file_store import FileStore
from ovis_app.ui import handlers
from ovis_app.ui.components import Components
from ovis_app.ui.controls import all_knobs, recommended
from ovis_app.ui.handlers import Tab
from ovis_app.ui.wiring.events import AT_ONCE, Updates, draft_in, shown


def wire(parts: Components, backend: Backend, store: FileStore) -> None:
    tab, composer, drawer = parts.tab, parts.composer, parts.drawer

    def edit(state: Tab, value: dict[str, Any] | None) -> Updates:
        return shown(parts, *handlers.edit(state, draft_in(value, store)))

    def undo(state: Tab, value: dict[str, Any] | None) -> Updates:
        return shown(parts, *handlers.undo(state, draft_in(value, store)))

    def leave_edit(state: Tab) -> Updates:
        return shown(parts, *handlers.leave_edit(state))

    def reset() -> Updates:
        spec = backend.status().model
        sliders = {drawer.sliders[knob.name]: recommended(spec, knob) for knob in all_knobs(spec)}
        return {**sliders, drawer.split: False, drawer.drop: False, drawer.system: ""}

    focus = "() => window.ovis.focus()"
    composer.edit.click(edit, [tab, composer.box], parts.shown, **AT_ONCE).then(None, js=focus)
    composer.undo.click(undo, [tab, composer.box], parts.shown, **AT_ONCE)
    composer.leave_edit.click(leave_edit, [tab], parts.shown, **AT_ONCE)
    drawer.reset.click(reset, None, [*drawer.sliders.values(), drawer.split, drawer.drop, drawer.system], **AT_ONCE)
    for button in (parts.header.settings, drawer.close):
        button.click(None, js="() => window.ovis.toggle('settings')")
    parts.header.theme.click(None, js="() => window.ovis.toggleTheme()")
