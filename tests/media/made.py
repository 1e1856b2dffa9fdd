"""Media made on the spot: pictures with a colour in each corner, clips that carry their frame number as brightness,
and files that are broken on purpose. Knows nothing of the app."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

CORNERS = {
    "top left": (255, 0, 0),
    "top right": (0, 255, 0),
    "bottom left": (0, 0, 255),
    "bottom right": (255, 255, 255),
}
STEP = 7  # brightness between a numbered frame and the next


def told_in_metadata(folder: Path, words: str) -> list[Path]:
    """Pictures of each kind whose metadata holds these words, as a camera's maker, its owner and its place; each is
    called by them, too."""
    picture, exif = Image.new("RGB", (64, 48), "teal"), Image.Exif()
    exif[0x010E] = exif[0x9286] = words
    exif.get_ifd(0x8825)[29] = words
    for name, options in (("jpg", {"exif": exif}), ("png", {"exif": exif}), ("tiff", {"description": words})):
        picture.save(folder / f"{words}.{name}", **options)
    return sorted(folder.glob(f"{words}.*"))


def corners(width: int = 64, height: int = 48) -> Image.Image:
    """Red, green, blue and white quarters, clockwise from the top left but for the last two."""
    picture = Image.new("RGB", (width, height))
    spots = ((0, 0), (width // 2, 0), (0, height // 2), (width // 2, height // 2))
    for (x, y), colour in zip(spots, CORNERS.values(), strict=True):
        picture.paste(
            colour, (x, y, width, height) if x and y else (x, y, x + width - width // 2, y + height - height // 2)
        )
    return picture


def corner_names(picture: Image.Image) -> list[str]:
    """Which colour lies in each corner (top left, top right, bottom left, bottom right), by the nearest of the four."""
    w, h = picture.size
    inset_x, inset_y = w // 8, h // 8
    spots = (
        (inset_x, inset_y),
        (w - 1 - inset_x, inset_y),
        (inset_x, h - 1 - inset_y),
        (w - 1 - inset_x, h - 1 - inset_y),
    )
    return [_nearest(picture.convert("RGB").getpixel(spot)) for spot in spots]


def _nearest(pixel: Any) -> str:
    return min(CORNERS, key=lambda name: sum((a - b) ** 2 for a, b in zip(CORNERS[name], pixel, strict=True)))


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def raw_png(width: int, height: int, *, bits: int, colour: int, row: bytes) -> bytes:
    """A PNG of one repeated row, however large it claims to be."""
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(b"\0" + row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def crowded_exif(orientation: int, *, tags: int, size: int) -> bytes:
    """EXIF data whose tags all claim the same `size` bytes: a reader that copies them takes `tags` times as much."""
    at = 14 + 12 * (tags + 1)
    rows = [struct.pack("<HHII", 0x0112, 3, 1, orientation)]
    rows += [struct.pack("<HHII", 0x0113 + n, 7, size, at) for n in range(tags)]
    return b"II*\0" + struct.pack("<IH", 8, len(rows)) + b"".join(rows) + bytes(4 + size)


def crowded_tiff(*, tags: int, size: int, pages: int = 1) -> bytes:
    """A gray TIFF whose tags all claim the same `size` bytes."""
    length = 2 + 12 * (8 + tags) + 4
    end = 8 + pages * length
    rows = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, end)]
    rows += [(278, 3, 1, 8), (279, 4, 1, 64), *((40_000 + n, 7, size, end) for n in range(tags))]
    page = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHII", *row) for row in rows)
    following = (8 + (n + 1) * length if n + 1 < pages else 0 for n in range(pages))
    return b"II*\0\x08\0\0\0" + b"".join(page + struct.pack("<I", at) for at in following) + bytes(64 + size)


def scanned_jpeg(scans: int, width: int = 5120, height: int = 5000) -> bytes:
    """A progressive JPEG that is read from top to bottom `scans` times more, a hundred bytes each."""
    plain = encoded(Image.new("L", (width, height), 90), "JPEG", progressive=True)
    runs = -(-(width // 8) * (height // 8) // 32_767)  # of blocks in which nothing changes
    bits = ("0" + "1" * 14) * runs
    bits += "1" * (-len(bits) % 8)
    said = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    table = b"\xff\xc4" + struct.pack(">HB", 20, 0x10) + bytes([1, *bytes(15)]) + b"\xe0"
    scan = table + b"\xff\xda" + struct.pack(">H", 8) + b"\x01\x01\0\x01\x3f\0" + said
    return plain[:-2] + scan * scans + b"\xff\xd9"


def png_with(picture: Image.Image, name: bytes, data: bytes) -> bytes:
    """A PNG with one more chunk."""
    plain = encoded(picture, "PNG")
    at = plain.index(b"IDAT") - 4
    return plain[:at] + _chunk(name, data) + plain[at:]


def huge_png() -> bytes:
    """30,000 x 30,000 pixels in about 100 kB."""
    return raw_png(30_000, 30_000, bits=1, colour=0, row=bytes(30_000 // 8))


def numbered(number: int, width: int = 64, height: int = 48) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((height, width, 3), 10 + STEP * (number % 34), np.uint8)


def rough(number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A numbered frame that can't be packed small, so that cutting the file cuts frames."""
    noise = np.random.default_rng(number).integers(-9, 10, (48, 64, 1))
    return (numbered(number).astype(int) + noise).clip(0, 255).astype(np.uint8)


def number_of(picture: Image.Image) -> int:
    """The number (modulo 34) that a frame of `numbered` carries."""
    return round((float(np.asarray(picture).mean()) - 10) / STEP)


def clip(
    path: Path,
    frames: Iterable[np.ndarray[Any, Any]],
    *,
    codec: str = "libx264",
    rate: int = 10,
    times: Sequence[int] | None = None,
    rotation: int | None = None,
    mirrored: bool = False,
    aspect: Fraction | None = None,
    gop: int = 12,
    form: str | None = None,
    title: str = "",
) -> Path:
    """Writes a clip. `times` are milliseconds per frame in place of an even `rate`; `rotation` is in degrees
    counter-clockwise; `aspect` is that of a pixel."""
    with av.open(str(path), "w", format=form) as out:
        frames = list(frames)
        out.metadata["title"] = title
        stream = out.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = {"mjpeg": "yuvj420p", "ffv1": "yuv444p"}.get(codec, "yuv420p")
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        stream.options = {"crf": "10", "preset": "veryfast"} if codec == "libx264" else {}
        if codec in ("mpeg4", "mjpeg"):
            stream.bit_rate = 2_000_000
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=mirrored)
        base = Fraction(1, 1000) if times else Fraction(1, rate)
        if times:
            stream.codec_context.time_base = base
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = (times[index] if times else index), base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def sound(path: Path, seconds: float = 0.5) -> Path:
    """A file with a tone and nothing to see."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44_100)
        stream.layout = "mono"
        size = int(44_100 * seconds)
        wave = np.sin(np.arange(size) * 0.06).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 44_100, 0, Fraction(1, 44_100)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def playlists(address: str) -> dict[str, bytes]:
    """Files named like clips that would make a careless reader fetch `address` or open a socket."""
    return {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{address}/hls.ts\n#EXT-X-ENDLIST\n".encode(),
        "late.mp4": f"\n\n#EXTM3U\n#EXTINF:2,\n{address}/late.ts\n".encode(),
        "concat.mp4": f"ffconcat version 1.0\nfile '{address}/concat.mp4'\n".encode(),
        "sdp.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 8766 RTP/AVP 96\n",
        "dash.mp4": (
            "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'><Period><AdaptationSet "
            f"mimeType='video/mp4'><Representation id='1' bandwidth='1'><BaseURL>{address}/dash.mp4</BaseURL>"
            "</Representation></AdaptationSet></Period></MPD>"
        ).encode(),
        "drawing.png": f"<svg xmlns='http://www.w3.org/2000/svg'><image href='{address}/svg.png'/></svg>".encode(),
    }
