"""Animations that claim frames which they don't have: what there is is watched, and how much is missing is known before
anything is asked."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from ovis_app.limits import Limits
from ovis_app.media import attach, attach_all, open_image, sample_frames
from tests.media.made import encoded

NOISE = [Image.effect_noise((64, 48), 90).convert("RGB") for _ in range(6)]
Chunk = tuple[bytes, bytes]


def animated(kind: str) -> bytes:
    return encoded(NOISE[0], kind, save_all=True, append_images=NOISE[1:], duration=100)


def chunks() -> Iterator[Chunk]:
    """Those of an animated PNG of six frames: a name and data each."""
    file = io.BytesIO(animated("PNG"))
    file.seek(8)
    while head := file.read(8):
        yield head[4:], file.read(int.from_bytes(head[:4], "big"))
        file.seek(4, io.SEEK_CUR)


def png(parts: list[Chunk]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def claiming(frames: int) -> bytes:
    return png([(name, struct.pack(">I", frames) + data[4:] if name == b"acTL" else data) for name, data in chunks()])


def beginning(headers: int) -> bytes:
    """Six frames are claimed; there are the headers of so many, and the pixels of one."""
    kept, seen = list[Chunk](), 0
    for name, data in chunks():
        seen += name == b"fcTL"
        if name == b"IEND" or (seen <= headers and name != b"fdAT"):
            kept.append((name, data))
    return png(kept)


def damaged(kind: str) -> bytes:
    """Whole to the third frame, or so."""
    data = bytearray(animated(kind))
    if kind == "GIF":
        third = [at for at in range(len(data)) if data[at : at + 3] == b"!\xf9\x04"][2] + 23
        data[third : third + 900] = bytes(900)
    else:
        data[len(data) * 2 // 3 : len(data) * 3 // 4] = bytes(len(data) * 3 // 4 - len(data) * 2 // 3)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "there", "claimed"),
    [
        (claiming(100), 6, 100),
        (claiming(2_000_000_000), 6, 2_000_000_000),
        (damaged("GIF"), 2, 6),
        (damaged("AVIF"), 2, 6),
    ],
    ids=["claims 100", "claims 2 billion", "GIF", "AVIF"],
)
def test_what_there_is_is_watched_and_what_is_missing_is_known(
    write: Callable[[str, bytes], Path], data: bytes, there: int, claimed: int
) -> None:
    media = attach(write("a.x", data), "a.x", Limits())
    assert media.kind == "video" and (media.pictures, media.missing) == (there, claimed - there)
    assert len(sample_frames(media, 8, Limits()).frames) == there


@pytest.mark.parametrize("headers", [1, 6])
def test_what_has_one_frame_is_a_picture(write: Callable[[str, bytes], Path], headers: int) -> None:
    [media], refused = attach_all([(write("a.png", beginning(headers)), "a.png")], Limits())
    assert not refused and media.kind == "image" and (media.pictures, media.missing) == (1, 5)
    assert open_image(media, Limits()).tobytes() == NOISE[0].tobytes()


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "AVIF"])
def test_nothing_is_missing_of_what_is_whole(write: Callable[[str, bytes], Path], kind: str) -> None:
    media = attach(write("a.x", animated(kind)), "a.x", Limits())
    assert media.kind == "video" and (media.pictures, media.missing) == (6, 0)
