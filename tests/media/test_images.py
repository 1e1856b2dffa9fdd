"""Pictures as a user would see them: the right way up, in the right colours, or refused with a sentence."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import attach, open_image
from tests.media.made import CORNERS, corner_names, corners, crowded_exif, encoded, huge_png, png_with, raw_png

UPRIGHT = list(CORNERS)


def opened(write, name: str, data: bytes) -> Image.Image:
    media = attach(write(name, data), name, Limits())
    assert media.kind == "image" and media.name == name
    picture = open_image(media, Limits())
    assert picture.mode == "RGB"
    return picture


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_usual_format_is_read_whatever_its_name(write, kind):
    picture = opened(write, "holiday.xyz", encoded(corners(), kind))
    assert picture.size == (64, 48) and corner_names(picture) == UPRIGHT


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_photos_stand_upright(write, orientation, kind):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    lying = corners().transpose(undo[orientation]) if orientation in undo else corners()
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = opened(write, "phone.jpg", encoded(lying, kind, exif=exif))
    assert picture.size == (64, 48) and corner_names(picture) == UPRIGHT


def test_a_nonsense_orientation_is_ignored(write):
    exif = Image.Exif()
    exif[0x0112] = 99
    assert corner_names(opened(write, "a.jpg", encoded(corners(), "JPEG", exif=exif))) == UPRIGHT


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("place", ["eXIf", "zTXt", "WEBP"])
def test_exif_that_claims_its_bytes_over_and_over_takes_no_memory(write, place):
    lying = corners().transpose(Image.Transpose.ROTATE_180)
    exif = crowded_exif(3, tags=600, size=450_000)  # 270 MB of copies
    if place == "WEBP":
        data = encoded(lying, "WEBP", exif=exif, lossless=True)
    elif place == "eXIf":
        data = png_with(lying, b"eXIf", exif)
    else:  # as ImageMagick writes it: in hexadecimal, after a line each for nothing, the name and the length
        text = f"\nexif\n{len(exif)}\n{exif.hex()}".encode()
        data = png_with(lying, b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    tracemalloc.start()
    try:
        picture = opened(write, "a.png", data)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert corner_names(picture) == UPRIGHT


@pytest.mark.parametrize("mode", ["CMYK", "L", "1", "P", "RGBA", "LA"])
def test_every_mode_keeps_light_and_dark(write, mode):
    picture = opened(write, "a.tif", encoded(corners().convert(mode), "TIFF"))
    assert picture.getpixel((60, 44)) == (255, 255, 255)
    assert sum(picture.getpixel((4, 44))) < 300
    if mode in ("CMYK", "P", "RGBA"):
        assert corner_names(picture) == UPRIGHT


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_deep_gray_is_scaled_and_not_white(write, kind):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(8, axis=0)
    row = np.asarray(opened(write, "scan.png", encoded(Image.fromarray(ramp), kind)))[0, :, 0]
    assert row[0] == 0 and row[-1] == 255 and 120 < row[32] < 136


def test_deep_colour_is_scaled(write):
    row = np.array([[0, 0x8000, 0xFFFF]] * 16, ">u2").tobytes()
    picture = opened(write, "deep.png", raw_png(16, 4, bits=16, colour=2, row=row))
    assert picture.getpixel((3, 2)) == (0, 128, 255)


def test_float_pictures_are_stretched_past_their_gaps(write):
    values = np.linspace(-3, 7, 64, dtype=np.float32)[None].repeat(8, axis=0)
    values[0, 0], values[0, 1] = np.nan, np.inf
    row = np.asarray(opened(write, "depth.tif", encoded(Image.fromarray(values), "TIFF")))[4, :, 0]
    assert row[0] == 0 and row[-1] >= 254


def test_transparent_pixels_do_not_show_what_they_hid(write):
    hidden = corners().convert("RGBA")
    hidden.putalpha(0)
    for kind in ("PNG", "WEBP"):
        assert opened(write, "logo.png", encoded(hidden, kind)).getextrema() == ((255, 255),) * 3


def test_half_transparency_is_laid_on_white(write):
    glass = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert opened(write, "glass.png", encoded(glass, "PNG")).getpixel((0, 0)) == (127, 127, 127)


def test_a_transparent_palette_colour_is_white(write):
    flat = Image.new("P", (8, 8), 1)
    flat.putpalette([0, 0, 0, 200, 0, 0, 0, 0, 200])
    flat.paste(2, (0, 0, 4, 8))
    picture = opened(write, "icon.gif", encoded(flat, "PNG", transparency=1))
    assert picture.getpixel((7, 0)) == (255, 255, 255) and picture.getpixel((0, 0)) == (0, 0, 200)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(write, kind):
    rest = [Image.new("RGB", (64, 48), "black")] * 3
    data = encoded(corners(), kind, save_all=True, append_images=rest)
    assert corner_names(opened(write, "anim.gif", data)) == UPRIGHT


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 10_000), (10_000, 1)])
def test_odd_shapes_pass(write, size):
    for kind in ("PNG", "JPEG"):
        assert opened(write, "thin.png", encoded(Image.new("RGB", size, "red"), kind)).size == size


def test_an_empty_file(write, refused):
    assert "empty" in refused(write("zero.png", b""))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_truncated_picture_is_refused_not_half_gray(write, refused, kind):
    noise = Image.effect_noise((96, 96), 90).convert("RGB")
    data = encoded(noise, kind)
    text = refused(write("cut.jpg", data[: len(data) // 2]))
    assert "damaged" in text


def test_a_flipped_bit_is_found(write, refused):
    data = bytearray(encoded(corners(), "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert "damaged" in refused(write("bit.png", bytes(data)))


def test_a_picture_that_unpacks_to_gigabytes_is_refused_unopened(write, refused):
    assert "60 million pixels" in refused(write("bomb.png", huge_png()))


def test_pixels_are_counted_before_decoding(write, refused):
    assert "0.001 million" in refused(write("a.png", encoded(corners(), "PNG")), limits=Limits(image_pixels=1000))


def test_a_huge_canvas_in_forty_bytes(write, refused):
    data = b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    assert "million pixels" in refused(write("canvas.gif", data))


def test_an_oversized_file_is_refused_by_its_bytes(write, refused):
    data = encoded(corners(), "PNG") + bytes(2 * 1024 * 1024)
    assert "1 MB" in refused(write("big.png", data), limits=Limits(image_bytes=1024 * 1024))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"hello, this is text\n" * 20, "text"),
        (b"\x7fELF\2\1\1" + bytes(200), "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "SVG"),
        (b"<?xml version='1.0'?>\n<svg/>", "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\nshowpage\n", "PostScript"),
        (b"%PDF-1.4\n1 0 obj<<>>endobj\n%%EOF", "PDF"),
        (b"PK\3\4" + bytes(60), "archive"),
        (b"\xd7\xcd\xc6\x9a" + bytes(60), "not a picture"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif\0\0\0\x08mdat", "damaged"),
        (b"ID3\4" + bytes(60), "sound"),
        (b"\xff", "not a picture"),
    ],
)
def test_what_only_looks_like_a_picture(write, refused, data, word):
    assert word in refused(write("photo.png", data))


def test_heic_names_the_way_out_when_there_is_no_decoder(write, refused):
    pytest.importorskip("PIL")
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
        assert "JPEG" in refused(write("IMG_1.HEIC", data))


def test_a_file_that_went_away(write):
    path = write("a.png", encoded(corners(), "PNG"))
    media = attach(path, "a.png", Limits())
    path.unlink()
    with pytest.raises(MediaError, match=r"^“a.png” is no longer here"):
        open_image(media, Limits())


def test_a_clip_is_no_picture(write):
    path = write("a.mp4", b"\0\0\0\x18ftypisom" + bytes(40))
    with pytest.raises(MediaError, match="clip"):
        open_image(Media("image", path, "a.mp4"), Limits())


def test_nothing_of_the_file_reaches_the_log(write, refused, caplog):
    caplog.set_level("DEBUG", logger="ovis_app.media")
    data = encoded(corners(), "PNG")
    refused(write("secret-name.png", data[: len(data) // 2]))
    assert caplog.records and "secret-name" not in caplog.text and "hidden-folder" not in caplog.text
