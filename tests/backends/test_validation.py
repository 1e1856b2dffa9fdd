"""What is asked for, moved to what a model can do, whoever asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovis_app import zoo
from ovis_app.backends.validation import checked
from ovis_app.conversation import Conversation, Detail, Media, MediaKind, Message
from ovis_app.generation import Request
from ovis_app.limits import Limits
from ovis_app.zoo import ModelSpec

MINI, NATIVE, TILES = (zoo.find(name) for name in ("ovis-mini", "Ovis2.5-9B", "Ovis2-8B"))


@pytest.mark.parametrize(
    ("spec", "kind", "asked", "seen"),
    [
        (MINI, "image", (1024**2, 1792**2), (224**2, 224**2)),
        (MINI, "image", (1, 1024), (224**2, 224**2)),
        (MINI, "image", (None, 4096**2), (None, 224**2)),
        (MINI, "video", (224**2, 224**2), (128**2, 128**2)),
        (NATIVE, "image", (1024**2, 1792**2), (1024**2, 1792**2)),
        (NATIVE, "image", (1, 2**26), (448**2, 1792**2)),
        (NATIVE, "video", (None, 64**2), (None, 448**2)),
        (NATIVE, "image", (None, None), (None, None)),
        (TILES, "image", (1, 2**26), (1, 2**26)),
    ],
)
def test_pixels_are_moved_to_what_the_model_was_made_for(
    spec: ModelSpec, kind: MediaKind, asked: tuple[int | None, int | None], seen: tuple[int | None, int | None]
) -> None:
    """Also those of earlier messages, which were sent to another model perhaps."""
    media = Media(kind, Path("x"), "x", Detail(*asked, frames=5))
    talk = Conversation((Message("user", "a", (media,)), Message("assistant", "b"), Message("user", "c", (media,))))
    after = checked(Request(talk), spec, Limits()).conversation
    for message in (after.messages[0], after.messages[2]):
        assert message.media[0].detail == Detail(*seen, frames=5)
