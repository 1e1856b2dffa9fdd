"""Opens whoever answers. Imports the chosen backend only, so that the page opens before torch is loaded."""

from __future__ import annotations

from contextlib import closing
from importlib.util import find_spec

from ovis_app import zoo
from ovis_app.backend import Backend
from ovis_app.errors import BackendError
from ovis_app.frozen_imports import linked
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.zoo import ModelSpec

LIGHT = (
    "PyTorch, which a model in this process needs, isn't installed: run `pip install 'ovis-app[local]'` (in a checkout "
    "`pip install -e '.[local]'`), ask a server with --backend remote, or try the page with "
    "`ovis serve --backend fake`."
)

LARGE = ("lib/libtorch_cpu.so",)  # of torch: 430 MB, nearly all that there is to link
NO_SPACES = "ZeroGPU needs the package spaces, which isn't installed: take `requirements.txt` as it is."


def require_local() -> None:
    """Raises BackendError where the extra `local` isn't installed; imports nothing."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise BackendError(LIGHT)


def link() -> None:
    """What is about to be imported holds other threads up as little as can be."""
    linked("torch", LARGE)


def model_of(settings: Settings, limits: Limits) -> ModelSpec:
    """The row of the model that `settings` ask for; where a server is to answer, it is asked. Raises BackendError."""
    if settings.backend != "remote":
        return zoo.adapted(settings.model, settings.adapter)
    from ovis_app.backends.remote.backend import RemoteBackend
    from ovis_app.backends.remote.server import servers

    with closing(RemoteBackend(servers(settings), settings, limits)) as backend:
        return backend.wait_for_model()


def open_backend(settings: Settings, limits: Limits, *, late: bool = False) -> Backend:
    """The backend that `settings` ask for. Returns at once; models load when they are first needed or warmed, and with
    `late` so does everything that imports torch. Raises BackendError where what it needs isn't installed."""
    if settings.backend != "remote" and not settings.base_url:
        return _of_this_machine(settings, limits, late=late)
    from ovis_app.backends.remote.backend import RemoteBackend
    from ovis_app.backends.remote.beside import BesideServers
    from ovis_app.backends.remote.server import servers

    named = servers(settings)
    if settings.backend == "remote":
        return RemoteBackend(named, settings, limits)
    return BesideServers(_of_this_machine(settings, limits, late=late), RemoteBackend(named, settings, limits))


def _of_this_machine(settings: Settings, limits: Limits, *, late: bool) -> Backend:
    if settings.backend == "fake":
        from ovis_app.backends.fake import FakeBackend

        return FakeBackend(delay=1 / settings.fake_rate if settings.fake_rate > 0 else 0.0)
    require_local()
    spec = zoo.adapted(settings.model, settings.adapter)
    if settings.zerogpu:  # at once: the GPU's part of the work is prepared before the page opens
        if find_spec("spaces") is None:
            raise BackendError(NO_SPACES)
        import spaces

        from ovis_app.backends.zerogpu import ZeroGpuBackend

        return ZeroGpuBackend(settings, limits, spaces.GPU)
    if late:
        from ovis_app.backends.lazy import LazyBackend

        return LazyBackend(spec, lambda: _of_this_machine(settings, limits, late=False))
    link()
    if spec.alone:
        from ovis_app.backends.local.page_reader import PageReaderBackend

        return PageReaderBackend(settings, limits)
    from ovis_app.backends.local.backend import LocalBackend

    return LocalBackend(settings, limits)
