"""Opens whoever answers. Imports the chosen backend only, so that the page opens before torch is loaded."""

from __future__ import annotations

from ovis_app.backend import Backend
from ovis_app.limits import Limits
from ovis_app.settings import Settings


def open_backend(settings: Settings, limits: Limits, *, late: bool = False) -> Backend:
    """The backend that `settings` ask for. Returns at once; models load when they are first needed or warmed, and with
    `late` so does everything that imports torch."""
    if settings.backend == "fake":
        from ovis_app.backends.fake import FakeBackend

        return FakeBackend(delay=1 / settings.fake_rate if settings.fake_rate > 0 else 0.0)
    if late:
        from ovis_app import zoo
        from ovis_app.backends.lazy import LazyBackend

        return LazyBackend(zoo.resolve(settings.model), lambda: open_backend(settings, limits))
    from ovis_app.backends.local.backend import LocalBackend

    return LocalBackend(settings, limits)
