"""Pictures that move: watched as clips where they are alone, one frame of them looked at beside others."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import attach, attach_all, attach_turns, open_image, sample_frames
from tests.media.made import CORNERS, corner_names, corners, encoded
from tests.media.made_gif import Patch, gif

pytestmark = pytest.mark.usefixtures("no_leaks")

FILES = Path(__file__).with_name("files")
KINDS = ("GIF", "PNG", "WEBP", "AVIF")
Write = Callable[[str, bytes], Path]


def shades(values: Sequence[int], mode: str = "RGB") -> list[Image.Image]:
    """A picture of 64 x 48 for each value, gray with a black bar on the left."""
    made = []
    for value in values:
        picture = Image.new("RGB", (64, 48), (value,) * 3)
        picture.paste((0, 0, 0), (0, 0, 16, 48))
        made.append(picture.convert(mode))
    return made


def animated(pictures: Sequence[Image.Image], kind: str, stays: int | list[int] = 100, **options: Any) -> bytes:
    """The pictures one after another; each stays for so many milliseconds."""
    options |= {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "AVIF" else {}
    return encoded(pictures[0], kind, save_all=True, append_images=pictures[1:], duration=stays, **options)


def seen(media: Media, count: int, limits: Limits | None = None) -> tuple[list[int], list[float], float]:
    """The shade of each sampled frame, its time, and how long the clip is."""
    clip = sample_frames(media, count, limits or Limits())
    return [frame.getpixel((40, 24))[0] for frame in clip.frames], list(clip.times), clip.duration  # type: ignore[index]


def disc(picture: Image.Image) -> int:
    """Where the red disc's middle lies, across."""
    values = np.asarray(picture.convert("RGB")).astype(int)
    red = (values[..., 0] > 150) & (values[..., 1] < 110) & (values[..., 2] < 110)
    return int(np.nonzero(red)[1].mean()) if red.any() else -1


@pytest.mark.parametrize("name", ["anim.gif", "anim.png", "anim.webp"])
def test_an_animation_is_a_clip_with_the_frames_of_one(name: str) -> None:
    animation = attach(FILES / name, name, Limits())
    assert (animation.kind, animation.pictures) == ("video", 6)
    movie = attach(FILES / "anim_from_gif.mp4", "m.mp4", Limits())
    for count in (3, 8):
        one, other = (sample_frames(media, count, Limits()) for media in (animation, movie))
        assert len(one.frames) == min(count, 6) and one.times == pytest.approx(other.times, abs=0.02)
        assert one.duration == pytest.approx(1.2)
        where = [disc(frame) for frame in one.frames]
        assert where == sorted(where) and where[-1] - where[0] >= 80
        assert where == pytest.approx([disc(frame) for frame in other.frames], abs=4)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_spread_over_the_time_and_not_over_their_number(write: Write, kind: str) -> None:
    stays = [100, 100, 100, 100, 100, 100, 1400, 600]
    path = write("a.x", animated(shades(range(60, 220, 20)), kind, stays))
    shown, times, duration = seen(attach(path, "a.x", Limits()), 2)
    assert shown == pytest.approx([180, 180 + 20], abs=3), "the long frames fill both halves, and none is seen twice"
    assert times == pytest.approx([0.6, 2.0]) and duration == pytest.approx(2.6)


def test_frames_that_say_they_stay_for_no_time_stay_as_long_as_in_a_browser(write: Write) -> None:
    path = write("a.gif", animated(shades(range(60, 220, 20)), "GIF", 0))
    assert seen(attach(path, "a.gif", Limits()), 8)[2] == pytest.approx(0.8)


def test_a_file_of_one_frame_stays_a_picture(write: Write) -> None:
    for kind in KINDS:
        media = attach(write("a.x", animated(shades([90]), kind)), "a.x", Limits())
        assert (media.kind, media.pictures) == ("image", 1)


def part(colour: str, box: tuple[int, int, int, int]) -> Image.Image:
    layer = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    layer.paste(colour, box)
    return layer


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
@pytest.mark.parametrize("disposed", [True, False])
def test_frames_are_composed_as_a_browser_does(write: Write, kind: str, disposed: bool) -> None:
    """What a frame leaves out stays from the one before it, or is cleared where that one says so."""
    left, right = part("black", (0, 0, 32, 48)), part("blue", (40, 0, 64, 48))
    options: dict[str, Any] = (
        {"disposal": 2 if disposed else 1} if kind == "GIF" else {"disposal": int(disposed), "blend": 1}
    )
    media = attach(write("a.x", animated([left, right], kind, **options)), "a.x", Limits())
    first, second = sample_frames(media, 2, Limits()).frames
    assert first.getpixel((8, 8)) == (0, 0, 0) and first.getpixel((50, 8)) == (255, 255, 255)
    assert second.getpixel((50, 8)) == (0, 0, 255)
    assert second.getpixel((8, 8)) == ((255, 255, 255) if disposed else (0, 0, 0))


RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
WHOLE, PART = (0, 0, 32, 32), (8, 8, 16, 16)
NEXT = Patch((0, 0, 8, 8), BLUE)  # a corner, after what is tried


@pytest.mark.parametrize(
    ("patches", "middle", "edge"),
    [
        ([Patch(WHOLE, RED), Patch(PART, BLUE, 2), NEXT], WHITE, RED),
        ([Patch(WHOLE, RED), Patch(PART, BLUE, 3), NEXT], RED, RED),
        ([Patch(WHOLE, RED), Patch(PART, BLUE, 1), NEXT], BLUE, RED),
        ([Patch(WHOLE, RED, 2), Patch(PART, BLUE), NEXT], BLUE, WHITE),
        ([Patch(WHOLE, RED), Patch(PART, None), NEXT], RED, RED),
        ([Patch(PART, RED), NEXT], RED, WHITE),
        ([Patch(PART, RED, 3), NEXT], WHITE, WHITE),
        ([Patch(WHOLE, RED), Patch((8, 8, 64, 64), BLUE), NEXT], BLUE, RED),
    ],
)
def test_a_gif_is_clear_where_nothing_is_drawn_and_where_a_frame_was_disposed_of(
    write: Write, patches: list[Patch], middle: tuple[int, ...], edge: tuple[int, ...]
) -> None:
    """With palettes that hold no colour for that, a first frame smaller than the canvas, and one beyond it."""
    frames = sample_frames(attach(write("a.gif", gif(32, 32, patches)), "a.gif", Limits()), 8, Limits()).frames
    assert {frame.size for frame in frames} == {(32, 32)}
    assert [frames[-1].getpixel(place) for place in ((16, 16), (30, 4), (2, 2))] == [middle, edge, BLUE]


def test_a_gif_of_one_small_frame_is_clear_around_it(write: Write) -> None:
    picture = open_image(attach(write("a.gif", gif(32, 32, [Patch(PART, RED)])), "a.gif", Limits()), Limits())
    assert (picture.size, picture.getpixel((16, 16)), picture.getpixel((2, 2))) == ((32, 32), RED, WHITE)


def test_of_an_animation_of_one_frame_that_is_seen_and_not_what_stands_in_for_it(write: Write) -> None:
    data = animated(shades([20, 200]), "PNG", default_image=True)
    media = attach(write("a.png", data), "a.png", Limits())
    assert (media.kind, media.pictures) == ("image", 1)
    assert open_image(media, Limits()).getpixel((40, 24)) == (200, 200, 200)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_stands_as_its_exif_data_says(write: Write, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = corners().transpose(Image.Transpose.ROTATE_90)
    data = animated([lying, Image.new("RGB", lying.size, "black")], kind, exif=exif)
    media = attach(write("a.x", data), "a.x", Limits())
    for picture in (sample_frames(media, 2, Limits()).frames[0], open_image(media.still, Limits())):
        assert picture.size == (64, 48) and corner_names(picture) == list(CORNERS)


@pytest.mark.parametrize("kind", KINDS)
def test_one_background_that_shows_all_frames(write: Write, kind: str) -> None:
    layers = [part("white", (x, 8, x + 16, 40)) for x in (4, 20, 36)]
    options: dict[str, Any] = {"disposal": 2} if kind == "GIF" else {"disposal": 1} if kind == "PNG" else {}
    media = attach(write("a.x", animated(layers, kind, **options)), "a.x", Limits())
    frames = sample_frames(media, 3, Limits()).frames
    assert {frame.getpixel((1, 1)) for frame in frames} == {(0, 0, 0)}
    assert [frame.getpixel((12 + 16 * n, 20)) for n, frame in enumerate(frames)] == [(255, 255, 255)] * 3


def test_beside_other_pictures_it_is_its_first_frame_that_shows_something(write: Write) -> None:
    photo = (write("p.png", encoded(corners(), "PNG")), "p.png")
    good, refused = attach_all([(FILES / "blankfirst.gif", "b.gif"), photo], Limits())
    assert not refused and [(one.kind, one.pictures) for one in good] == [("image", 7), ("image", 1)]
    with Image.open(FILES / "blankfirst.gif") as first:
        assert disc(first) == -1
    assert disc(open_image(good[0], Limits())) > 0
    [alone], _ = attach_all([(FILES / "blankfirst.gif", "b.gif")], Limits())
    assert alone.kind == "video" and alone.still.kind == "image" and disc(open_image(alone.still, Limits())) > 0


def test_a_program_that_sends_a_conversation_again_hears_the_same(write: Write) -> None:
    gif, photo = (FILES / "anim.gif", "a.gif"), (write("p.png", encoded(corners(), "PNG")), "p.png")
    for _ in range(2):
        turns = attach_turns([[gif], [gif, photo], []], Limits())
        assert [[(one.kind, one.pictures) for one in turn] for turn in turns] == [
            [("video", 6)],
            [("image", 6), ("image", 1)],
            [],
        ]


def test_a_blank_animation_is_a_blank_picture(write: Write) -> None:
    media = attach(
        write("a.gif", animated([Image.new("RGB", (64, 48), c) for c in ("white", "red")], "GIF")), "a", Limits()
    )
    assert open_image(media.still, Limits()).getpixel((0, 0)) == (255, 255, 255)


# --- what is too much, or broken ------------------------------------------------------------------------------------


def thousands(frames: int, side: int) -> bytes:
    """A GIF of so many noisy frames."""
    noise = [Image.effect_noise((side, side), 90).quantize(32) for _ in range(2)]
    out = io.BytesIO()
    noise[0].save(out, "GIF", save_all=True, append_images=[noise[n % 2] for n in range(1, 20)], duration=50)
    data = out.getvalue()
    begins = data.index(b"\x21\xf9\x04", data.index(b"\x21\xf9\x04") + 1)  # the second frame, up to the file's end
    return data[:begins] + data[begins:-1] * (frames // 19) + data[-1:]


def test_a_gif_of_ten_thousand_frames_is_watched(write: Write) -> None:
    media = attach(write("a.gif", thousands(10_000, 24)), "a.gif", Limits())
    assert media.kind == "video" and 9_900 < media.pictures < 10_100
    clip = sample_frames(media, 8, Limits())
    assert len(clip.frames) == 8 and clip.duration == pytest.approx(0.05 * media.pictures)


def test_what_takes_too_long_to_watch_is_a_picture_and_too_large_a_canvas_is_refused(write: Write) -> None:
    path = write("a.gif", thousands(2_000, 24))
    media = attach(path, "a.gif", Limits(animation_pixels=1_000_000))
    assert media.kind == "image" and media.pictures > 1_900 and open_image(media, Limits()).size == (24, 24)
    data = bytearray(animated(shades([60, 90, 120]), "WEBP"))
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = b"\xff\x3f\x00\xff\x3f\x00"  # 16,384 x 16,384
    with pytest.raises(MediaError, match=r"^“b.webp” has more than 60 million pixels"):
        attach(write("b.webp", bytes(data)), "b.webp", Limits())


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_that_is_cut_off_gives_what_there_is_or_a_sentence(write: Write, kind: str) -> None:
    noise = [Image.effect_noise((64, 48), 90).convert("RGB") for _ in range(6)]
    data = animated(noise, kind)
    path = write("a.x", data[: len(data) // 2])
    try:
        media = attach(path, "a.x", Limits())
    except MediaError as error:
        assert "damaged" in str(error)
    else:
        assert media.kind == "video" and 1 <= len(sample_frames(media, 6, Limits()).frames) < 6


def test_an_animation_longer_than_a_clip_may_be(write: Write) -> None:
    media = attach(write("a.gif", animated(shades([60, 90]), "GIF", 60_000)), "a.gif", Limits())
    with pytest.raises(MediaError, match=r"^“a.gif” is longer than 1 minute"):
        sample_frames(media, 2, Limits(video_seconds=60))


def test_stop_and_the_clock_end_it(write: Write) -> None:
    media = attach(write("a.gif", thousands(2_000, 64)), "a.gif", Limits())
    with pytest.raises(MediaError, match="takes too long"):
        sample_frames(media, 2, Limits(decode_seconds=0.05))
