"""What is asked for, moved to what a model can do, whoever asks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ovis_app import zoo
from ovis_app.backends.validation import checked
from ovis_app.chat import stamped
from ovis_app.conversation import Conversation, Detail, Media, MediaKind, Message
from ovis_app.errors import RequestError
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.media import open_image
from ovis_app.zoo import ModelSpec
from ovis_app.zoo.spec import Resolution

MINI, NATIVE, TILES = (zoo.find(name) for name in ("ovis-mini", "Ovis2.5-9B", "Ovis2-8B"))
PICTURE, FRAME = MINI.single.max_pixels, MINI.clip.max_pixels


@pytest.mark.parametrize(
    ("spec", "kind", "asked", "seen"),
    [
        (MINI, "image", (1024**2, 1792**2), (PICTURE, PICTURE)),
        (MINI, "image", (1, 1024), (PICTURE, PICTURE)),
        (MINI, "image", (None, 4096**2), (None, PICTURE)),
        (MINI, "video", (224**2, 224**2), (FRAME, FRAME)),
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


def test_an_animation_is_a_picture_where_clips_are_not_watched() -> None:
    animation = Media("video", Path("a.gif"), "a.gif", pictures=6)
    for spec, kind in ((MINI, "video"), (replace(MINI, video=False), "image")):
        talk = Conversation((Message("user", "a", (animation,)), Message("assistant", "b"), Message("user", "c")))
        [media] = checked(Request(talk), spec, Limits()).conversation.messages[0].media
        assert (media.kind, media.pictures) == (kind, 6)
    with pytest.raises(RequestError, match="doesn't watch clips"):
        clip = Conversation((Message("user", "a", (Media("video", Path("a.mp4"), "a.mp4"),)),))
        checked(Request(clip), replace(MINI, video=False), Limits())


def test_several_clips_are_for_models_that_tell_them_apart() -> None:
    """Ovis2.5 marks where each begins and ends; to Ovis2 they would be one row of pictures, and Ovis-mini tells of the
    last alone, whatever it is asked."""
    clips = tuple(Media("video", Path(f"{n}.mp4"), f"{n}.mp4", Detail(frames=n)) for n in (2, 3))
    asked = Request(Conversation((Message("user", "Which is faster?", clips),)))
    for spec in (NATIVE, zoo.find("Ovis2.6-30B-A3B")):
        [question] = checked(asked, spec, Limits()).conversation.messages
        assert [one.detail.frames for one in question.media] == [2, 3]
    for spec in (MINI, TILES):
        with pytest.raises(RequestError, match=f"{spec.name} watches one clip a question: ask about each"):
            checked(asked, spec, Limits())
    mixed = Request(Conversation((Message("user", "?", (clips[0], Media("image", Path("a.png")))),)))
    with pytest.raises(RequestError, match="takes pictures or clips, not both"):
        checked(mixed, NATIVE, Limits())


@pytest.fixture
def strip(tmp_path: Path) -> Media:
    """A screenshot of ten screens, of which each has its own shade."""
    path = tmp_path / "long.png"
    picture = Image.new("L", (480, 6400))
    for number in range(10):
        picture.paste(20 * number + 20, (0, 640 * number, 480, 640 * (number + 1)))
    picture.save(path)
    return Media("image", path, "long.png")


def asked_with(*media: Media, split: bool = True, **fields: Any) -> Request:
    settings = GenerationSettings(split=split, **fields)
    return stamped(Request(Conversation((Message("user", "What does it say?", media),)), settings))


@pytest.mark.parametrize("spec", [NATIVE, TILES])
def test_a_very_long_picture_is_split_where_that_is_wanted(spec: ModelSpec, strip: Media) -> None:
    [message] = checked(asked_with(strip, split=False), spec, Limits()).conversation.messages
    assert len(message.media) == 1 and message.media[0].detail.piece is None
    [message] = checked(
        asked_with(strip), replace(spec, single=Resolution(max_pixels=10**6)), Limits()
    ).conversation.messages
    pieces = [open_image(one, Limits()) for one in message.media]
    assert len(pieces) == 11 and {piece.width for piece in pieces} == {480}
    assert all(1 < piece.height / piece.width < 1.5 for piece in pieces)
    shades = [piece.getpixel((0, 0))[0] for piece in pieces]  # type: ignore[index]
    assert shades == sorted(shades) and shades[0] == 20, "from top to bottom"
    seams = [piece.getpixel((0, 0)) == before.getpixel((0, before.height - 59)) for before, piece in pairwise(pieces)]
    assert all(seams), "a piece begins before the one above it ends"
    assert spec.detail(message.media[1], several=True).piece == (2, 11)


def test_wide_pictures_are_split_from_left_to_right_and_others_not(tmp_path: Path) -> None:
    wide, usual, small = (tmp_path / f"{name}.png" for name in ("wide", "usual", "small"))
    Image.linear_gradient("L").rotate(90).resize((4000, 400)).save(wide)
    Image.new("L", (2000, 4000)).save(usual)
    Image.new("L", (90, 900)).save(small)
    media = [Media("image", path, path.name) for path in (wide, usual, small)]
    spec = replace(NATIVE, single=Resolution(max_pixels=10**6))
    [message] = checked(asked_with(*media), spec, Limits()).conversation.messages
    assert [one.name for one in message.media] == ["wide.png"] * 5 + ["usual.png", "small.png"], (
        "16 files a turn, for three"
    )
    light = [open_image(one, Limits()).getpixel((0, 0))[0] for one in message.media[:5]]  # type: ignore[index]
    assert light == sorted(light, reverse=light[0] > light[-1]) and len(set(light)) == 5


def test_a_phones_photo_on_its_side_is_split_as_it_is_seen(tmp_path: Path) -> None:
    path, exif = tmp_path / "a.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (6000, 500)).save(path, exif=exif)
    [message] = checked(asked_with(Media("image", path, "a.jpg")), TILES, Limits()).conversation.messages
    assert len(message.media) > 5 and open_image(message.media[0], Limits()).width == 500


def test_a_model_of_one_picture_sees_it_whole(strip: Media) -> None:
    [message] = checked(asked_with(strip), replace(TILES, several_images=False), Limits()).conversation.messages
    assert len(message.media) == 1
