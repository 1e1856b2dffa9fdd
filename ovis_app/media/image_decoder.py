"""The child process that checks pictures: their files on stdin one after the other, a job as JSON in argv, a record
for each on stdout.

Runs as a script and imports nothing of the project, so that it starts fast and a picture that unpacks to gigabytes,
hangs or crashes a decoder costs the app nothing. It knows no path and no name. Records are as `video_decoder` has them.
"""

from __future__ import annotations

import json
import struct
import sys
from contextlib import suppress
from io import BytesIO
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError


def check(data: bytes, formats: list[str], pixels: int) -> dict[str, Any]:
    """What is wrong with a picture: every byte is looked at. JPEGs are decoded at an eighth of their size, which reads
    all of them at a fraction of the cost; PNGs have checksums too."""
    if webp_pixels(data) > pixels:
        return {"refused": "pixels"}
    with Image.open(BytesIO(data), formats=formats) as picture:
        if picture.width * picture.height > pixels:
            return {"refused": "pixels"}
        picture.verify()
    with Image.open(BytesIO(data), formats=formats) as picture:
        picture.draft(None, (picture.width // 8 + 1, picture.height // 8 + 1))
        picture.load()
    return {}


def webp_pixels(data: bytes) -> int:
    """The pixels that a WebP says it has, 0 for other files: its decoder takes memory for all of them before Pillow can
    ask. Its container's three kinds of first chunk: developers.google.com/speed/webp/docs/riff_container."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return 0
    if data[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return width * height


def answer(data: bytes, formats: list[str], pixels: int) -> dict[str, Any]:
    """The record for one file."""
    if "HEIF" in formats:
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]

        pillow_heif.register_heif_opener()
    try:
        return check(data, formats, pixels)
    except UnidentifiedImageError:
        return {"refused": "odd"}
    except MemoryError:
        return {"refused": "pixels"}
    except Exception as error:  # Pillow's decoders fail in many families; all of them are the same to the user
        return {"refused": "damaged", "cause": type(error).__name__}


def limit_resources(job: dict[str, Any]) -> None:
    """The memory that a picture can take, and the last line of defence for the clock. Not on Windows."""
    try:
        import resource
    except ImportError:
        return
    wishes = {"RLIMIT_AS": job["memory"], "RLIMIT_CPU": job["cpu_seconds"], "RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0}
    for name, value in wishes.items():
        with suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (value, value))


def send(out: BinaryIO, record: dict[str, Any]) -> None:
    head = json.dumps(record).encode()
    out.write(struct.pack(">I", len(head)) + head)
    out.flush()


def main() -> None:
    job = json.loads(sys.argv[1])
    limit_resources(job)
    Image.MAX_IMAGE_PIXELS = None  # the job says how many
    for file in job["files"]:
        data = sys.stdin.buffer.read(file["bytes"])
        if len(data) < file["bytes"]:
            return
        send(sys.stdout.buffer, answer(data, file["formats"], job["pixels"]))
    send(sys.stdout.buffer, {"end": True})


if __name__ == "__main__":
    main()
