"""What people see of a file: something that every browser shows, of the model's own pixels, and nothing else that the
file holds."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import decoder_process, open_image, sample_frames, with_copies
from ovis_app.media.file_types import HEAD, kind_of
from tests.media.made import CORNERS, clip, corner_names, corners, encoded, number_of, numbered, raw_png

pytestmark = pytest.mark.usefixtures("no_leaks")

CANARY, PLACE = b"CANARY", b"+48.8577+002.295"
UPRIGHT = list(CORNERS)
RAW = Path(__file__).parent / "files" / "raw.h264"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shown"


def copy_of(media: Media, folder: Path, limits: Limits) -> Path:
    [copied] = with_copies([media], folder, limits)
    assert copied.shown is not None
    return copied.shown


def shown(path: Path, folder: Path, **limits: Any) -> Path:
    patient = Limits(**{"copy_seconds": 60.0, "decode_seconds": 120.0, **limits})  # however busy the machine is
    with path.open("rb") as file:
        kind = kind_of(file.read(HEAD)).media
    assert kind is not None
    copy = copy_of(Media(kind, path, path.name), folder, patient)
    assert [one.name for one in folder.iterdir() if ".part" in one.name] == []
    return copy


def secrets_in(path: Path) -> list[bytes]:
    data = path.read_bytes()
    return [
        word for word in (CANARY, PLACE, b"Exif", b"ns.adobe.com", CANARY.decode().encode("utf-16-le")) if word in data
    ]


def played(path: Path) -> list[tuple[float, Image.Image]]:
    """The frames of a copy and when they appear, as a player shows them."""
    with av.open(str(path)) as opened:
        assert opened.streams.video[0].codec_context.pix_fmt == "yuv420p"
    got = sample_frames(Media("video", path), 10_000, Limits())
    return list(zip(got.times, got.frames, strict=True))


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x010E], tags[0x013B], tags[0x9286] = "CANARY description", "CANARY artist", "CANARY comment"
    tags.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 27.7), 3: "E", 4: (2.0, 17.0, 42.0), 29: "CANARY:11:26"})
    return tags


def pictures() -> dict[str, bytes]:
    text = PngInfo()
    text.add_text("Author", "CANARY")
    text.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta>CANARY http://ns.adobe.com/xap/1.0/</x:xmpmeta>")
    xmp = b"<x:xmpmeta>CANARY http://ns.adobe.com/xap/1.0/</x:xmpmeta>"
    noise = Image.effect_noise((160, 120), 90).convert("RGB")
    return {
        "a.jpg": encoded(noise, "JPEG", exif=exif(), comment=CANARY, xmp=xmp),
        "a.png": encoded(corners(), "PNG", exif=exif(), pnginfo=text) + b"CANARY after the end",
        "a.webp": encoded(noise, "WEBP", exif=exif(), xmp=xmp),
        "a.tiff": encoded(noise, "TIFF", exif=exif(), description="CANARY"),
        "a.gif": encoded(corners(), "GIF", comment=CANARY),
        "a.bmp": encoded(corners(), "BMP") + CANARY,
    }


@pytest.mark.parametrize("name", sorted(pictures()))
def test_a_pictures_copy_has_its_pixels_and_nothing_else(write: Callable[..., Path], folder: Path, name: str) -> None:
    path = write(name, pictures()[name])
    assert CANARY in path.read_bytes()
    copy = shown(path, folder)
    assert secrets_in(copy) == []
    assert kind_of(copy.read_bytes()[:HEAD]).mime in ("image/png", "image/jpeg")
    with Image.open(copy) as seen:
        assert not seen.getexif() and not set(seen.info) - {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        wanted = open_image(Media("image", path), Limits())
        assert seen.size == wanted.size and seen.mode == "RGB"
        assert np.abs(np.asarray(seen, int) - np.asarray(wanted, int)).mean() < 6


def test_a_picture_is_shown_upright_so_that_boxes_fit(write: Callable[..., Path], folder: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # a phone held upright
    lying = corners(48, 64).transpose(Image.Transpose.ROTATE_90)
    copy = shown(write("a.jpg", encoded(lying, "JPEG", exif=turned, quality=95)), folder)
    with Image.open(copy) as seen:
        assert seen.size == (48, 64) and corner_names(seen) == UPRIGHT


def test_drawings_stay_as_sharp_as_they_are_and_photos_small(write: Callable[..., Path], folder: Path) -> None:
    drawing = shown(write("a.bmp", encoded(corners(640, 480), "BMP")), folder)
    with Image.open(drawing) as seen:
        assert drawing.suffix == ".png" and seen.tobytes() == corners(640, 480).tobytes()
    photo = Image.effect_noise((800, 600), 90).convert("RGB")
    packed = shown(write("a.tiff", encoded(photo, "TIFF")), folder)
    assert packed.suffix == ".jpg" and packed.stat().st_size < 800 * 600


def test_a_huge_picture_is_shown_as_large_as_a_screen(write: Callable[..., Path], folder: Path) -> None:
    copy = shown(write("a.png", raw_png(250, 20_000, bits=8, colour=0, row=bytes(250))), folder)
    with Image.open(copy) as seen:
        assert max(seen.size) <= 16_384 and seen.size[1] / seen.size[0] == pytest.approx(80, rel=0.01)


def test_the_pictures_of_a_message_are_copied_by_one_process(
    write: Callable[..., Path], folder: Path, children: list[Any]
) -> None:
    media = [Media("image", write(f"secret-{i}.png", encoded(corners(64 + i), "PNG"))) for i in range(4)]
    copied = with_copies([*media, media[0]], folder, Limits())
    assert len({one.shown for one in copied}) == 4 and copied[0].shown == copied[4].shown
    assert [(one.path, one.kind) for one in copied] == [(one.path, one.kind) for one in (*media, media[0])]
    [child] = children
    assert child.returncode is not None and not [word for word in child.args if "secret" in word]
    assert with_copies(media, folder, Limits()) == copied[:4] and len(children) == 1  # they are there


def test_a_copys_name_tells_nothing_and_is_the_same_wherever_the_file_lies(
    write: Callable[..., Path], folder: Path
) -> None:
    data = encoded(corners(), "PNG")
    one, two = (shown(write(name, data), folder) for name in ("Anna at home.png", "other.png"))
    assert one == two and "Anna" not in one.name


def located(path: Path, *, codec: str = "libx264", sound: str = "aac", rotation: int | None = None) -> Path:
    """A clip that says in every place it has where and by whom it was taken."""
    movflags = {"movflags": "use_metadata_tags"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=movflags) as out:
        place = PLACE.decode() + "/"
        out.metadata.update({"title": "CANARY", "comment": "CANARY", "location": place, "artist": "CANARY"})
        out.metadata["com.apple.quicktime.location.ISO6709"] = place
        stream: Any = out.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.metadata.update({"handler_name": "CANARY", "title": "CANARY"})
        if rotation is not None:
            stream.set_display_rotation(rotation)
        heard: Any = out.add_stream(sound, rate=48_000)
        heard.layout = "mono"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(numbered(number, 128, 96), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            out.mux(stream.encode(frame))
        tone = np.sin(np.arange(96_000) * 0.06).astype(np.float32)[None]
        said = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        said.sample_rate, said.pts, said.time_base = 48_000, 0, Fraction(1, 48_000)
        out.mux([*heard.encode(said), *stream.encode(None), *heard.encode(None)])
    path.write_bytes(path.read_bytes() + b"\0\0\0\x0efreeCANARY")
    return path


TAKEN_OVER = [
    ("a.mp4", "libx264", "aac"), ("a.mov", "libx264", "aac"), ("a.mkv", "libx264", "aac"), ("a.ts", "libx264", "aac"),
    ("a.flv", "libx264", "aac"), ("a.webm", "libvpx", "libopus"), ("b.webm", "libvpx-vp9", "libopus"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "codec", "sound"), TAKEN_OVER)
def test_a_clip_that_browsers_play_keeps_its_frames_and_sound_and_nothing_else(
    tmp_path: Path, folder: Path, name: str, codec: str, sound: str
) -> None:
    path = located(tmp_path / name, codec=codec, sound=sound)
    assert CANARY in path.read_bytes()
    copy = shown(path, folder)
    assert copy.suffix == (".webm" if "webm" in name else ".mp4") and secrets_in(copy) == []
    assert b"x264 - core" not in copy.read_bytes()  # what an encoder, or a drone, writes between the frames
    frames = played(copy)
    assert [number_of(frame) for _, frame in frames] == list(range(20))
    assert [when for when, _ in frames] == pytest.approx([number / 10 for number in range(20)], abs=0.002)
    with av.open(str(copy)) as opened:
        assert [stream.type for stream in opened.streams] == ["video", "audio"]
        assert sum(frame.samples for frame in opened.decode(audio=0)) == pytest.approx(96_000, rel=0.05)


def test_what_people_wrote_among_the_headers_of_sound_goes_too(tmp_path: Path, folder: Path) -> None:
    """As Vorbis has it in a file that no FFmpeg wrote."""
    with av.open(str(tmp_path / "plain.webm"), "w") as out:
        streams: list[Any] = [out.add_stream("libvpx", rate=10), out.add_stream("vorbis", rate=48_000)]
        streams[0].width, streams[0].height, streams[0].pix_fmt = 128, 96, "yuv420p"
        streams[1].codec_context.options = {"strict": "experimental"}
        for number in range(10):
            out.mux(streams[0].encode(av.VideoFrame.from_ndarray(numbered(number, 128, 96), format="rgb24")))
        said = av.AudioFrame.from_ndarray(np.zeros((2, 48_000), np.float32), format="fltp", layout="stereo")
        said.sample_rate, said.pts, said.time_base = 48_000, 0, Fraction(1, 48_000)
        out.mux([*streams[0].encode(None), *streams[1].encode(said), *streams[1].encode(None)])
    with av.open(str(tmp_path / "plain.webm")) as plain, av.open(str(tmp_path / "a.webm"), "w") as out:
        headers = bytes(plain.streams.audio[0].codec_context.extradata or b"")
        first, last = headers[headers.find(b"\x01vorbis") :][:30], headers[headers.rfind(b"\x05vorbis") :]
        said = [CANARY, b"LOCATION=" + PLACE]
        written = b"".join(len(one).to_bytes(4, "little") + one for one in said)
        comments = b"\x03vorbis" + bytes(4) + len(said).to_bytes(4, "little") + written + b"\x01"
        copies = [out.add_stream_from_template(stream) for stream in plain.streams]
        copies[1].codec_context.extradata = bytes([2, len(first), len(comments)]) + first + comments + last
        for packet in plain.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    assert secrets_in(tmp_path / "a.webm") == [CANARY, PLACE]
    copy = shown(tmp_path / "a.webm", folder)
    assert copy.suffix == ".webm" and secrets_in(copy) == []
    with av.open(str(copy)) as opened:
        assert sum(frame.samples for frame in opened.decode(audio=0)) > 40_000


def test_a_playable_clip_of_a_phone_stays_upright_and_starts_at_once(tmp_path: Path, folder: Path) -> None:
    copy = shown(located(tmp_path / "a.mp4", rotation=90), folder)
    assert {frame.size for _, frame in played(copy)} == {(96, 128)} and secrets_in(copy) == []
    assert copy.read_bytes().index(b"moov") < copy.read_bytes().index(b"mdat")


def test_a_clip_that_browsers_do_not_play_is_encoded_with_its_times(tmp_path: Path, folder: Path) -> None:
    for name, codec, form in (("a.avi", "mpeg4", None), ("a.mp4", "libx265", None), ("a.wmv", "wmv2", "asf")):
        odd = codec == "mpeg4"
        frames = [numbered(number, 128 + odd, 96 + odd) for number in range(20)]
        copy = shown(clip(tmp_path / name, frames, codec=codec, form=form, title="CANARY"), folder)
        seen = played(copy)
        assert copy.suffix == ".mp4" and secrets_in(copy) == [] and {frame.size for _, frame in seen} == {(128, 96)}
        assert [number_of(frame) for _, frame in seen[:20]] == list(range(20))
        assert [when for when, _ in seen[:20]] == pytest.approx([number / 10 for number in range(20)], abs=0.002)
        assert sample_frames(Media("video", copy), 1, Limits()).duration == pytest.approx(2.0, abs=0.02)


def test_an_encoded_clip_stands_upright_in_square_pixels_and_is_small(tmp_path: Path, folder: Path) -> None:
    stored = np.asarray(corners(640, 1280).rotate(-90, expand=True))
    copy = shown(clip(tmp_path / "a.mov", [stored] * 3, codec="mpeg4", rotation=90), folder)
    frame = played(copy)[0][1]
    assert frame.size == (320, 640) and corner_names(frame) == UPRIGHT
    wide = shown(clip(tmp_path / "b.mov", [np.asarray(corners())] * 3, codec="mpeg4", aspect=Fraction(2, 1)), folder)
    assert played(wide)[0][1].size == (128, 48)


def test_a_bare_stream_of_frames_can_be_played(folder: Path) -> None:
    seen = played(shown(RAW, folder))
    assert [when for when, _ in seen[:20]] == pytest.approx([number / 10 for number in range(20)], abs=0.002)


def test_a_clip_that_costs_too_much_is_shown_to_its_end_in_fewer_frames(tmp_path: Path, folder: Path) -> None:
    path = clip(tmp_path / "long.mkv", (numbered(i) for i in range(400)), codec="mpeg4", gop=10)
    seen = played(shown(path, folder, copy_pixels=200 * 64 * 48))
    assert 10 <= len(seen) <= 70 and seen[-1][0] == pytest.approx(40, abs=0.1)
    assert max(b[0] - a[0] for a, b in itertools.pairwise(seen)) < 3


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a few lines of Python in the encoder's place."""

    def replaced(lines: str) -> None:
        (tmp_path / "encoder.py").write_text(lines)
        monkeypatch.setattr(decoder_process, "COPY_ENCODER", tmp_path / "encoder.py")

    return replaced


@pytest.mark.parametrize("lines", ["import os\nos.abort()\n", "print('?' * 100)\n"])
def test_a_clip_that_cannot_be_copied_is_shown_as_its_frames(
    tmp_path: Path, folder: Path, encoder: Callable[[str], None], lines: str
) -> None:
    encoder(lines)
    path = clip(tmp_path / "a.mp4", [numbered(number, 128, 96) for number in range(20)])
    with Image.open(shown(path, folder)) as sheet:
        assert sheet.format == "PNG" and sheet.size == (4 * 132 + 4, 2 * (96 + 22) + 4)
        shades = [number_of(sheet.crop((left, 40, left + 60, 80))) for left in (10, 150, 280, 410)]
    assert shades == sorted(set(shades))


def test_what_cannot_be_shown_at_all_is_a_sentence_until_it_can(
    write: Callable[..., Path], folder: Path, monkeypatch: pytest.MonkeyPatch, encoder: Callable[[str], None]
) -> None:
    media = Media("image", write("a.png", encoded(corners(), "PNG")))
    encoder("import time\ntime.sleep(60)\n")
    with Image.open(copy_of(media, folder, Limits(decode_seconds=0.3))) as tile:
        assert tile.size == (480, 270) and len(tile.getcolors(1000) or ()) > 2
    monkeypatch.undo()
    with Image.open(copy_of(media, folder, Limits())) as seen:
        assert seen.size == (64, 48)


CRASHES = """
import json, os, struct, sys
for file in json.load(sys.stdin):
    if "crash" in file["media"]["path"]: os.abort()
    open(file["out"], "wb").write(b"copied")
    head = json.dumps({"suffix": ".png"}).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(head)) + head)
    sys.stdout.buffer.flush()
"""


def test_a_picture_that_ends_the_process_does_not_end_the_others(
    write: Callable[..., Path], folder: Path, encoder: Callable[[str], None]
) -> None:
    encoder(CRASHES)
    names = ("1.png", "crash2.png", "3.png", "4.png", "crash5.png")
    media = [Media("image", write(name, name.encode())) for name in names]
    copies = [one.shown.read_bytes() for one in with_copies(media, folder, Limits()) if one.shown]
    assert [data == b"copied" for data in copies] == [True, False, True, True, False] and len(
        list(folder.iterdir())
    ) == 5


def test_a_picture_that_takes_too_much_memory_costs_its_copy_alone(write: Callable[..., Path], folder: Path) -> None:
    bomb = Media("image", write("b.png", raw_png(7740, 7740, bits=8, colour=2, row=bytes(3 * 7740))))
    good = Media("image", write("a.png", encoded(corners(), "PNG")))
    copied = with_copies([bomb, good], folder, Limits(image_memory=400 * 1024 * 1024))
    assert [Image.open(one.shown).size for one in copied if one.shown] == [(480, 270), (64, 48)]


def test_a_full_or_locked_disk_is_a_sentence_and_leaves_nothing(write: Callable[..., Path], tmp_path: Path) -> None:
    media = Media("image", write("a.png", encoded(corners(), "PNG")), "a.png")
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(MediaError, match=r"^“a.png” could not be kept here just now") as caught:
        copy_of(media, tmp_path / "taken", Limits())
    assert str(tmp_path) not in str(caught.value)


def test_a_file_that_went_away_is_a_sentence(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(MediaError, match=r"^“a.png” is no longer there"):
        copy_of(Media("image", tmp_path / "gone.png", "a.png"), folder, Limits())


def test_copies_are_for_this_user_alone(write: Callable[..., Path], folder: Path) -> None:
    shown(write("a.png", encoded(corners(), "PNG")), folder)
    assert folder.stat().st_mode & 0o077 == 0 or os.name == "nt"
