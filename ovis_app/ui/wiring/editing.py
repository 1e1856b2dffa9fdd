"""What only opens, closes and resets, and how the panels and the page's modules tell one another of settings."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from ovis_app.backend import Backend
from ovis_app.ui.components import Components
from ovis_app.ui.controls import all_knobs, recommended
from ovis_app.ui.wiring.events import AT_ONCE, PRIVATE, Updates


def wire(page: gr.Blocks, parts: Components, backend: Backend) -> None:
    drawer = parts.drawer

    def reset() -> Updates:
        spec = backend.status().model
        sliders = {drawer.sliders[knob.name]: recommended(spec, knob) for knob in all_knobs(spec)}
        return {**sliders, drawer.split: False, drawer.drop: False, drawer.system: ""}

    drawer.reset.click(reset, None, [*drawer.sliders.values(), drawer.split, drawer.drop, drawer.system], **AT_ONCE)
    for button in (parts.header.settings, drawer.close):
        button.click(None, js="() => window.ovis.toggle('settings')")
    parts.header.language.click(None, js="() => window.ovis.put('language', true)")
    parts.header.theme.click(None, js="() => window.ovis.toggleTheme()")
    parts.header.new_chat.click(None, js="() => window.ovis.put('new', true)")
    _wire_settings(page, parts)


def _wire_settings(page: gr.Blocks, parts: Components) -> None:
    """In the browser alone: what panels show is told to the page's modules, and what those have kept to the panels."""
    inputs = parts.settings_inputs()
    names = json.dumps(list(inputs))
    components: list[Any] = list(inputs.values())
    told = (
        f"(...values) => window.ovis.put('settings', Object.fromEntries({names}.map((name, i) => [name, values[i]])))"
    )
    for changed in (page.load, *(one.change for one in components)):
        changed(None, components, None, js=told, **PRIVATE)
    kept = f"(...values) => {names}.map((name, i) => window.ovis.kept(name, values[i]))"
    parts.view.here.restore(None, components, components, js=kept, **PRIVATE)
