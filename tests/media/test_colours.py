"""Colours are what a file says that they are: by a profile, by numbers, in every format and mode that may."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from ovis_app.limits import Limits
from ovis_app.media import attach, open_image
from tests.media.made import encoded
from tests.media.made_icc import ADOBE, P3, gray, press
from tests.media.seen import DISC, opened

FILES = Path(__file__).with_name("files")
pillow_heif.register_heif_opener()  # to write such files


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
