"""The colours of pictures: what a profile is worth, and what files say of theirs outside of what Pillow reads: a HEIC
or AVIF by numbers (nclx), a JPEG 2000 by a profile in a box of its own.

Knows boxes and profiles, and decodes nothing. Runs in the child process too and imports nothing of the project.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO

from PIL import Image, ImageChops, ImageCms

MOST_PROFILE = 8_000_000  # bytes; the largest of a printing press have about 3 million
SAME = 3  # of 255: a profile that changes no colour by more is sRGB
# The colour space that a profile must be of, by a picture's mode.
SPACES = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK", "LAB": "Lab "}
MOST_HEAD = 1 << 20  # bytes of a file in which its first boxes are looked for
BT2020, P3 = 9, 12  # primaries, as ITU-T H.273 numbers them
LINEAR, PQ, HLG = 8, 16, 18  # transfer curves
GAMMAS = {4: 2.2, 5: 2.8, LINEAR: 1.0}
# The primaries of those that aren't sRGB's, as light in the profile's own white (D50).
_COLORANTS = {
    P3: ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
    BT2020: ((0.67348, 0.27904, -0.00194), (0.16566, 0.67534, 0.02999), (0.12505, 0.04561, 0.79686)),
}
_D50 = (0.9642, 1.0, 0.8249)


def complete(picture: Image.Image, file: BinaryIO) -> None:
    """Writes into the picture's `info` what its file says of its colours and Pillow didn't read: `icc_profile`, and
    `transfer` where they are of a high dynamic range."""
    if picture.info.get("icc_profile"):
        return
    if picture.format == "HEIF":
        said = picture.info.get("nclx_profile") or {}
        numbers = (said.get("color_primaries", 0), said.get("transfer_characteristics", 0))
    elif picture.format == "AVIF":
        found = _box(_head(file), b"meta", b"iprp", b"ipco", b"colr", kind=b"nclx")
        numbers = struct.unpack_from(">HH", found, 4) if len(found) >= 8 else (0, 0)
    elif picture.format == "JPEG2000":
        for kind in (b"\2", b"\3"):
            if profile := _box(_head(file), b"jp2h", b"colr", kind=kind)[3:]:
                picture.info["icc_profile"] = profile
        return
    else:
        return
    primaries, transfer = numbers
    if transfer in (PQ, HLG) and primaries == BT2020:
        picture.info["transfer"] = transfer
    elif primaries in _COLORANTS:
        picture.info["icc_profile"] = _profile(_COLORANTS[primaries], GAMMAS.get(transfer))


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(MOST_HEAD)


def _box(data: bytes, *names: bytes, kind: bytes) -> bytes:
    """The first of the boxes that lie within each other by these names and whose content begins with `kind`."""
    if not names:
        return data if data.startswith(kind) else b""
    for name, content in _boxes(data):
        if name == names[0]:
            within = content[4:] if name == b"meta" else content  # after its version and flags
            if found := _box(within, *names[1:], kind=kind):
                return found
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of boxes that follow each other: ISO/IEC 14496-12, 4.2."""
    at = 0
    while at + 8 <= len(data):
        size, start = int.from_bytes(data[at : at + 4], "big"), at + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        end = at + size if size else len(data)
        if end < start:
            return
        yield data[at + 4 : at + 8], data[start:end]
        at = end


def _profile(colorants: tuple[tuple[float, ...], ...], gamma: float | None) -> bytes:
    """An ICC profile of these primaries, with this gamma or sRGB's curve: ICC.1:2010, 7."""
    curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045) if gamma is None else (gamma,)
    parametric = b"para" + bytes(4) + struct.pack(">HH", 3 if gamma is None else 0, 0) + _fixed(*curve)
    tags = {b"wtpt": b"XYZ " + bytes(4) + _fixed(*_D50)}
    for name, light in zip((b"r", b"g", b"b"), colorants, strict=True):
        tags |= {name + b"XYZ": b"XYZ " + bytes(4) + _fixed(*light), name + b"TRC": parametric}
    begin = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", begin + len(body), len(content))
        body += content
    size, kind = struct.pack(">I", begin + len(body)) + bytes(4), b"\4\x20\0\0mntrRGB XYZ "
    return size + kind + bytes(12) + b"acsp" + bytes(28) + _fixed(*_D50) + bytes(48) + table + body


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def srgb_transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What brings colours of this mode to sRGB; None where the profile is missing, broken, of another kind of colours,
    or changes nothing."""
    with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        if profile and len(profile) <= MOST_PROFILE:
            own = ImageCms.ImageCmsProfile(BytesIO(profile))
            if own.profile.xcolor_space != SPACES.get(mode):
                return None
        elif mode == "LAB":
            own = ImageCms.createProfile("LAB")  # type: ignore[assignment]
        else:
            return None
        found = ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, "RGB")
        return None if _changes_nothing(found, mode) else found
    return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Tried on colours of all kinds: what a profile is called isn't what it does."""
    if mode not in ("L", "RGB"):
        return False
    levels = range(0, 256, 51)
    colours = bytes(part for red in levels for green in levels for blue in levels for part in (red, green, blue))
    probe = Image.frombytes("RGB", (len(colours) // 3, 1), colours).convert(mode)
    difference = ImageChops.difference(transform.apply(probe).convert("RGB"), probe.convert("RGB"))
    return all(high <= SAME for _, high in difference.getextrema())  # type: ignore[misc]
