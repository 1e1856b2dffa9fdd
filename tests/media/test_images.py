"""Pictures as a user would see them: the right way up, in the right colours, or refused with a sentence."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import attach, open_image, upright_size
from ovis_app.media.opaque import opaque
from tests.media.made import CORNERS, corner_names, corners, crowded_exif, encoded, huge_png, png_with, raw_png
from tests.media.made_icc import ADOBE, P3, gray, press

UPRIGHT = list(CORNERS)
FILES = Path(__file__).with_name("files")
pillow_heif.register_heif_opener()  # to write such files


def opened(write, name: str, data: bytes) -> Image.Image:
    media = attach(write(name, data), name, Limits())
    assert media.kind == "image" and media.name == name
    picture = open_image(media, Limits())
    assert picture.mode == "RGB"
    return picture


@pytest.mark.parametrize(
    "kind",
    ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JPEG2000", "TGA", "PPM", "PCX", "DDS", "ICO"],
)
def test_every_usual_format_is_read_whatever_its_name(write, kind):
    options = {"compression": "tga_rle"} if kind == "TGA" else {"sizes": [(64, 48)]} if kind == "ICO" else {}
    picture = opened(write, "holiday.xyz", encoded(corners(), kind, **options))
    assert picture.size == (64, 48) and corner_names(picture) == UPRIGHT


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
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
    media = attach(write("phone.jpg", encoded(lying, kind, exif=exif)), "phone.jpg", Limits())
    assert upright_size(media, Limits()) == (64, 48)


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


def test_a_large_float_picture_takes_little_more_than_itself():
    picture = Image.new("F", (6000, 4000), 1.5)
    picture.putpixel((5, 3999), 3.0)
    tracemalloc.start()
    try:
        [flat] = opaque([picture], None)
        assert tracemalloc.get_traced_memory()[1] < 120e6
    finally:
        tracemalloc.stop()
    assert flat.getpixel((5, 3999)) == (255, 255, 255) and flat.getpixel((0, 0)) == (0, 0, 0)


def test_transparent_pixels_do_not_show_what_they_hid(write):
    hidden = corners().convert("RGBA")
    hidden.putalpha(0)
    for kind in ("PNG", "WEBP"):
        assert opened(write, "logo.png", encoded(hidden, kind)).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("name", ["whiteontransp.png", "white_la.png"])
def test_a_white_drawing_on_nothing_is_seen(name):
    picture = open_image(attach(FILES / name, name, Limits()), Limits())
    values = np.asarray(picture.convert("L"))
    assert values.min() < 20 and values.max() == 255 and 0.02 < (values > 200).mean() < 0.6


def drawing(mode: str, *colours: int) -> Image.Image:
    """A square of each lightness on nothing."""
    picture = Image.new("LA", (64, 48), (90, 0))
    for number, light in enumerate(colours):
        picture.paste((light, 255), (4 + 20 * number, 8, 20 + 20 * number, 40))
    return picture.convert(mode)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize(
    ("colours", "behind"),
    [((0,), 255), ((100,), 255), ((255,), 0), ((210,), 0), ((0, 255), 128), ((0, 128, 100), 255), ((255, 130), 0)],
)
def test_what_lies_behind_a_drawing_contrasts_with_it(write, mode, colours, behind):
    picture = opened(write, "a.png", encoded(drawing(mode, *colours), "PNG"))
    assert picture.getpixel((1, 1)) == (behind,) * 3
    assert [picture.getpixel((12 + 20 * n, 20))[0] for n in range(len(colours))] == list(colours)


def test_a_colour_that_stands_for_nothing_is_nothing_at_every_depth(write):
    """Gray of 1, 8 and 16 bits, RGB and a palette: the file names a value, and has no alpha."""
    deep = np.full((48, 64), 65535, np.uint16)
    deep[:, :32] = 300  # beside what is drawn
    flat = Image.fromarray((deep >> 8).astype(np.uint8))
    palette = flat.convert("RGB").quantize(2)
    files = {
        "1": encoded(flat.convert("1"), "PNG", transparency=0),
        "L": encoded(flat, "PNG", transparency=1),
        "16": encoded(Image.fromarray(deep), "PNG", transparency=300),
        "RGB": encoded(flat.convert("RGB"), "PNG", transparency=(1, 1, 1)),
        "P": encoded(palette, "PNG", transparency=palette.getpixel((1, 1))),
        "GIF": encoded(palette, "GIF", transparency=palette.getpixel((1, 1))),
    }
    for name, data in files.items():
        picture = opened(write, "a.png", data)
        assert (picture.getpixel((1, 1)), picture.getpixel((60, 1))) == ((0, 0, 0), (255, 255, 255)), name
    dark = Image.fromarray(255 - np.asarray(flat))
    picture = opened(write, "a.png", encoded(dark, "PNG", transparency=254))
    assert (picture.getpixel((1, 1)), picture.getpixel((60, 1))) == ((255, 255, 255), (0, 0, 0))


@pytest.mark.parametrize(
    ("bits", "colour", "nothing", "drawn"),
    [
        (2, 0, "01", "11"),
        (2, 0, "10", "11"),
        (4, 0, "0101", "1111"),
        (16, 2, f"{1000:016b}{2000:016b}{3000:016b}", "1" * 48),
    ],
)
def test_a_colour_that_stands_for_nothing_is_given_in_the_files_own_depth(write, bits, colour, nothing, drawn):
    row = int(nothing * 8 + drawn * 8, 2).to_bytes(16 * bits * (3 if colour else 1) // 8, "big")
    key = b"".join(struct.pack(">H", int(nothing[n : n + bits], 2)) for n in range(0, len(nothing), bits))
    plain = raw_png(16, 4, bits=bits, colour=colour, row=row)
    at = plain.index(b"IDAT") - 4
    data = plain[:at] + struct.pack(">I", len(key)) + b"tRNS" + key + struct.pack(">I", zlib.crc32(b"tRNS" + key))
    picture = opened(write, "a.png", data + plain[at:])
    assert (picture.getpixel((1, 1)), picture.getpixel((12, 1))) == ((0, 0, 0), (255, 255, 255))


def test_light_inside_a_dark_outline_stays_on_white(write):
    badge = drawing("RGBA", 0)
    badge.paste((255, 255, 255, 255), (8, 12, 16, 36))
    assert opened(write, "a.png", encoded(badge, "PNG")).getpixel((1, 1)) == (255, 255, 255)


# --- colour profiles ------------------------------------------------------------------------------------------------

DISC = (75, 95)  # a place within it


@pytest.mark.parametrize("name", ["icc_swapped.png", "icc_swapped.jpg"])
def test_colours_are_what_the_profile_says_and_not_what_it_is_called(name):
    picture = open_image(attach(FILES / name, name, Limits()), Limits())
    red, green, blue = picture.getpixel(DISC)
    assert green > 150 and red < 110 and blue < 110


def swapped() -> bytes:
    with Image.open(FILES / "icc_swapped.png") as picture:
        return picture.info["icc_profile"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_format_brings_its_profile(write, kind):
    picture = opened(write, "a.x", encoded(Image.new("RGB", (64, 48), (220, 20, 20)), kind, icc_profile=swapped()))
    assert picture.getpixel((30, 20)) == pytest.approx((20, 220, 20), abs=12)


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA"])
def test_a_profile_of_colours_counts_for_every_mode_of_them(write, mode):
    plain = Image.new("RGBA", (64, 48), (220, 20, 20, 0))
    plain.paste((220, 20, 20, 255), (8, 8, 60, 40))
    picture = opened(write, "a.png", encoded(plain.convert(mode), "PNG", icc_profile=swapped()))
    red, green, _ = picture.getpixel((30, 20))
    assert green > red + 100 if mode in ("RGBA", "P") else abs(green - red) < 4


def test_gray_and_print_go_by_their_profiles_too(write):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    labs = Image.merge("LAB", [Image.new("L", (8, 8), value) for value in (136, 208, 195)])  # sRGB's red
    assert opened(write, "a.tif", encoded(labs, "TIFF")).getpixel((4, 4)) == pytest.approx((255, 0, 0), abs=12)
    assert opened(write, "a.tif", encoded(labs, "TIFF", icc_profile=lab.tobytes())).getpixel((4, 4))[0] > 240


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize(("gamma", "light"), [(1.0, 168), (1.8, 119)])
def test_gray_is_as_light_as_its_profile_says(write, kind, gamma, light):
    data = encoded(Image.new("L", (64, 48), 100), kind, icc_profile=gray(gamma))
    assert opened(write, "a.x", data).getpixel((30, 20)) == pytest.approx((light,) * 3, abs=2)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("ink", range(4))
def test_print_is_as_light_as_its_press_says(write, kind, ink):
    """A press of grays: what an ink is without its profile shows as a colour."""
    inks = Image.new("CMYK", (64, 48), tuple(255 * (place == ink) for place in range(4)))
    hundredths = (70, 50, 80, 0)
    picture = opened(write, "a.x", encoded(inks, kind, icc_profile=press(hundredths)))
    shade = hundredths[ink] and ((hundredths[ink] + 16) / 116) ** (3 / 2.4)
    light = shade and 255 * (1.055 * shade - 0.055)
    assert picture.getpixel((30, 20)) == pytest.approx((light,) * 3, abs=5)


@pytest.mark.parametrize(("profile", "colour"), [(P3, (241, 30, 0)), (ADOBE, (254, 57, 7))])
def test_wide_colours_are_brought_to_srgb(write, profile, colour):
    data = encoded(Image.new("RGB", (64, 48), (220, 60, 20)), "PNG", icc_profile=profile)
    assert opened(write, "a.png", data).getpixel((30, 20)) == pytest.approx(colour, abs=3)


def numbered_colours(kind: str, primaries: int, transfer: int) -> bytes:
    """A picture whose file says by numbers (nclx) what its colours are."""
    data = bytearray(encoded(Image.new("RGB", (64, 48), (220, 60, 20)), kind, quality=95))
    at = data.index(b"colrnclx") + 8
    data[at : at + 4] = struct.pack(">HH", primaries, transfer)
    return bytes(data)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
@pytest.mark.parametrize(
    ("numbers", "colour"),
    [((1, 13), (220, 60, 20)), ((2, 2), (220, 60, 20)), ((12, 13), (240, 34, 0)), ((9, 13), (255, 0, 0))],
)
def test_colours_that_are_told_by_numbers(write, kind, numbers, colour):
    assert opened(write, "a.x", numbered_colours(kind, *numbers)).getpixel((30, 20)) == pytest.approx(colour, abs=4)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
@pytest.mark.parametrize(("transfer", "white"), [(16, 0.58), (18, 0.75)])
def test_white_of_a_high_dynamic_range_is_white(write, kind, transfer, white):
    plain = bytearray(encoded(Image.new("RGB", (64, 48), (round(255 * white),) * 3), kind, quality=95))
    at = plain.index(b"colrnclx") + 8
    plain[at : at + 4] = struct.pack(">HH", 9, transfer)
    assert min(opened(write, "a.x", bytes(plain)).getpixel((30, 20))) > 225


@pytest.mark.parametrize(("profile", "colour"), [(P3, (241, 30, 0)), (P3[:90], (220, 60, 20))])
def test_a_jpeg_2000_brings_its_profile(write, profile, colour):
    plain = encoded(Image.new("RGB", (64, 48), (220, 60, 20)), "JPEG2000")
    head, at = plain.index(b"jp2h") - 4, plain.index(b"colr") - 4
    end = at + int.from_bytes(plain[at : at + 4], "big")
    box = struct.pack(">I", 11 + len(profile)) + b"colr\2\0\0" + profile
    size = int.from_bytes(plain[head : head + 4], "big") + len(box) - (end - at)
    data = plain[:head] + struct.pack(">I", size) + plain[head + 4 : at] + box + plain[end:]
    assert opened(write, "a.jp2", data).getpixel((30, 20)) == pytest.approx(colour, abs=3)


@pytest.mark.parametrize("profile", ["cut", "text", "huge", "of other colours"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_profile_that_is_no_use_changes_nothing(write, profile, kind):
    lies = {
        "cut": swapped()[:300],
        "text": b"profile" * 40,
        "huge": swapped() + bytes(50_000_000 if kind == "PNG" else 10_000_000),
        "of other colours": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
    }[profile]
    picture = opened(write, "a.x", encoded(Image.new("RGB", (64, 48), (220, 20, 20)), kind, icc_profile=lies))
    assert picture.getpixel((30, 20)) == pytest.approx((220, 20, 20), abs=3)


def test_what_is_srgb_already_keeps_its_values(write):
    noise = Image.effect_noise((64, 48), 90).convert("RGB")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for options in ({}, {"icc_profile": profile}):
        picture = opened(write, "a.png", encoded(noise, "PNG", **options))
        assert picture.tobytes() == noise.tobytes()


def test_a_large_picture_is_converted_in_strips_that_meet(write):
    wide = Image.linear_gradient("L").resize((3000, 2000)).convert("RGB")
    wide.putalpha(Image.new("L", wide.size, 255))
    wide.paste((0, 0, 0, 0), (0, 0, 10, 10))
    picture = opened(write, "a.png", encoded(wide, "PNG", compress_level=1))
    column = np.asarray(picture)[20:, 1500, 0].astype(int)
    assert np.abs(np.diff(column)).max() <= 1 and picture.getpixel((2, 2)) == (255, 255, 255)


# --- formats --------------------------------------------------------------------------------------------------------


def test_half_transparency_is_laid_on_white(write):
    glass = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert opened(write, "glass.png", encoded(glass, "PNG")).getpixel((0, 0)) == (127, 127, 127)


def test_a_transparent_palette_colour_is_white(write):
    flat = Image.new("P", (8, 8), 1)
    flat.putpalette([0, 0, 0, 200, 0, 0, 0, 0, 200])
    flat.paste(2, (0, 0, 4, 8))
    picture = opened(write, "icon.gif", encoded(flat, "PNG", transparency=1))
    assert picture.getpixel((7, 0)) == (255, 255, 255) and picture.getpixel((0, 0)) == (0, 0, 200)


def test_of_several_pages_the_first_is_taken_and_all_are_counted(write):
    rest = [Image.new("RGB", (64, 48), "black")] * 3
    media = attach(write("fax.tif", encoded(corners(), "TIFF", save_all=True, append_images=rest)), "fax.tif", Limits())
    assert (media.kind, media.pictures) == ("image", 4)
    assert corner_names(open_image(media, Limits())) == UPRIGHT


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
        (b"BM is how a bitmap begins, and this sentence too.\n" * 8, "text"),
        (b"P3 is a priority, P1 comes first.\n" * 8, "text"),
        (
            b"P7\nWIDTH 4\nHEIGHT 4\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" + bytes(range(200, 248)),
            "not a picture",
        ),
        (b"\0\0\1\0" + bytes(60), "not a picture"),
        (b"\0\0\2\0\0\0\0\0" + bytes(60), "not a picture"),
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


def test_a_phones_photo_is_read():
    picture = open_image(attach(FILES / "a.heic", "IMG_1.HEIC", Limits()), Limits())
    red, green, blue = picture.getpixel(DISC)
    assert picture.size == (320, 240) and red > 150 and green < 110 and blue < 110


def test_a_heic_that_is_damaged_or_claims_too_much(write, refused):
    data = (FILES / "a.heic").read_bytes()
    assert "damaged" in refused(write("cut.heic", data[: len(data) // 2]))
    assert "damaged" in refused(write("b.heic", data[:40]))
    at = data.index(b"ispe") + 8
    grown = data[:at] + struct.pack(">II", 20_000, 20_000) + data[at + 8 :]
    assert refused(write("bomb.heic", grown))


def test_an_icon_gives_its_largest_picture(write):
    data = encoded(corners(128, 128), "ICO", sizes=[(16, 16), (128, 128), (32, 32)])
    assert opened(write, "a.ico", data).size == (128, 128)


def test_an_icon_whose_index_lies_about_its_size(write, refused):
    inner = raw_png(9000, 9000, bits=1, colour=0, row=bytes(1125))
    entry = struct.pack("<BBBBHHII", 32, 32, 0, 0, 1, 32, len(inner), 22)
    assert "million pixels" in refused(write("a.ico", struct.pack("<HHH", 0, 1, 1) + entry + inner))


@pytest.mark.parametrize("head", [b"P1\n4 2\n1 0 1 0\n0 1 0 1\n", b"P2 # gray\n4 2\n255\n0 255 0 255 255 0 255 0\n"])
def test_plain_portable_maps_are_pictures_and_no_text(write, head):
    picture = opened(write, "a.txt", head)
    assert picture.size == (4, 2) and picture.getpixel((0, 0)) != picture.getpixel((1, 0))


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
