"""What the header's buttons do, in the browser alone: they open, choose the language and the scheme, and begin anew."""

from __future__ import annotations

from ovis_app.ui.components import Components


def wire(parts: Components) -> None:
    head = parts.header
    head.settings.click(None, js="() => window.ovis.toggle('settings')")
    head.language.click(None, js="() => window.ovis.put('language', true)")
    head.theme.click(None, js="() => window.ovis.toggleTheme()")
    head.new_chat.click(None, js="() => window.ovis.put('new', true)")
