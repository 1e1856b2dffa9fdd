"""Questions to a loopback server through the real client, and what came of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ovis_app import chat
from ovis_app.backend import Backend
from ovis_app.backends.remote.backend import RemoteBackend
from ovis_app.backends.remote.client import Patience
from ovis_app.backends.remote.server import servers
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.generation import GenerationSettings, Request
from ovis_app.settings import Settings

EXAMPLES = Path(__file__).parents[3] / "assets" / "examples"
PICTURE = Media("image", EXAMPLES / "shapes.png", "shapes.png")
CLIP = Media("video", EXAMPLES / "clip.mp4", "clip.mp4")
QUICK = Patience(pauses=(0.01, 0.01), down=0.0, fresh=0.0)


@contextmanager
def remote(
    *urls: str, patience: Patience = QUICK, environment: dict[str, str] | None = None, **changes: Any
) -> Iterator[RemoteBackend]:
    settings = Settings(backend="remote", base_url=urls, **changes)
    backend = RemoteBackend(servers(settings, environment or {}), settings, settings.limits(), patience=patience)
    try:
        yield backend
    finally:
        backend.close()


def talk(*said: str | Message) -> Conversation:
    """Questions and answers in turn."""
    roles = ("user", "assistant")
    return Conversation(
        tuple(Message(roles[n % 2], one) if isinstance(one, str) else one for n, one in enumerate(said))  # type: ignore[arg-type]
    )


def answer(backend: Backend, asked: Conversation | str, **settings: Any) -> Message:
    """The whole answer, by the road that everybody takes."""
    conversation = talk(asked) if isinstance(asked, str) else asked
    *_, last = chat.reply(backend, Request(conversation, GenerationSettings(**settings)))
    assert last.messages[: len(conversation.messages) - 1] == conversation.messages[:-1]
    assert last.messages[-2].text == conversation.messages[-1].text, "the question is kept"
    return last.messages[-1]
