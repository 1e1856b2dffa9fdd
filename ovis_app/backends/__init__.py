"""Opens whoever answers. Imports the chosen backend only, so that the page opens before torch is loaded."""

from __future__ import annotations

from ovis_app.generation import Backend
from ovis_app.media import Limits
from ovis_app.settings import Settings


def open_backend(settings: Settings, limits: Limits) -> Backend:
    """The backend that `settings` ask for. Returns at once; models load when they are first needed or warmed."""
    if settings.backend == "fake":
        from ovis_app.backends.fake import FakeBackend

        return FakeBackend(delay=1 / settings.fake_rate if settings.fake_rate > 0 else 0.0)
    from ovis_app.backends.local import LocalBackend

    return LocalBackend(settings, limits)
