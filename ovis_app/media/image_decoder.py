"""The child process that checks pictures, and the one that reads animations: files on stdin, a job as JSON in argv,
records on stdout. Pictures come one after the other and get a record each; an animation is alone and gets one a frame.

Runs as a script and imports nothing of the project but files beside it, so that it starts fast and a picture that
unpacks to gigabytes, hangs or crashes a decoder costs the app nothing. It knows no path and no name. Records are as
`video_decoder` has them.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

if __name__ == "__main__":  # a script knows no package: what lies beside it comes behind all else
    sys.path.append(str(Path(__file__).parent))
    import decoder_memory
    from animation_frames import Refused, frames, frames_there
    from colour_profiles import srgb_transform
    from picture_opening import HALVINGS, SEVERAL, count, likely, opened, quickly_opened, size_of
else:
    from ovis_app.media import decoder_memory
    from ovis_app.media.animation_frames import Refused, frames, frames_there
    from ovis_app.media.colour_profiles import srgb_transform
    from ovis_app.media.picture_opening import HALVINGS, SEVERAL, count, likely, opened, quickly_opened, size_of

# What carries the colours of other modes.
COLOURS = {"LA": "L", "RGBA": "RGB", "P": "RGB"}
NO_ANIMATION = {"side": 0, "area": 0, "most": 0}  # whose frames are tried
# Bytes of a value of a TIFF's types, from BYTE to those of BigTIFF.
TIFF_BYTES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), 1)) | {16: 8, 17: 8, 18: 8}


def check(data: bytes, formats: list[str], pixels: int, animation: Mapping[str, int]) -> dict[str, Any]:
    """What is wrong with a picture, or its size and how many there are: every byte of the first is looked at. JPEGs are
    decoded at an eighth of their size, which reads all of them at a fraction of the cost; PNGs have checksums too. Of
    an animation within these limits all frames are tried: what it claims and doesn't have is `missing`."""
    webp = decoder_memory.webp_pixels(data)
    if webp > pixels:
        return {"refused": "pixels"}
    if decoder_memory.WEBP * webp > decoder_memory.MOST:
        return {"refused": "memory", "most": decoder_memory.MOST // decoder_memory.WEBP}
    pages = list(tiff_claims(data))
    if pages and pages[0] > len(data):
        return {"refused": "damaged", "cause": "claims"}
    with quickly_opened(data, formats, pixels) as picture:
        size = size_of(picture)
        if size[0] * size[1] > pixels:
            return {"refused": "pixels"}
        needed = decoder_memory.needed(picture, data, picture.info.get(HALVINGS, 0))
        if needed > decoder_memory.MOST:
            return {"refused": "memory", "most": int(size[0] * size[1] * decoder_memory.MOST / needed)}
        claimed = len(pages) or count(picture)
        held = likely(claimed, picture, data)
        picture.verify()
    with opened(BytesIO(data), formats, pixels, roughly=True) as picture:
        if getattr(picture, "default_image", False):
            picture.seek(1)
        picture.load()
        if picture.width * picture.height > pixels:  # an icon's pictures may be larger than its index says
            return {"refused": "pixels"}
        colours = COLOURS.get(picture.mode, picture.mode)
        transform = srgb_transform(picture.info.get("icc_profile"), colours)
        if transform is not None:
            transform.apply(picture.crop((0, 0, 8, 8)).convert(colours))
    area = size[0] * size[1]
    fits = area <= animation["side"] and area * held <= animation["area"] and held <= animation["most"]
    there = frames_there(data, formats, held) if held > 1 and fits and formats[0] in SEVERAL else held
    return {"pictures": there, "size": size} | ({"missing": claimed - there} if there < claimed else {})


def tiff_claims(data: bytes) -> Iterator[int]:
    """For each page of a TIFF how many bytes its tags say to hold beside themselves; nothing for other files. Pillow
    reads all of a page's, and tags may claim the same bytes over and over: 9 MB were made a gigabyte. Pages are counted
    here too: Pillow reads their tags for that. Layout: "TIFF 6.0", and "BigTIFF", where counts have eight bytes."""
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return
    order, large = "<" if data[:2] == b"II" else ">", b"+" in data[:4]
    rows, row, place = (order + one for one in (("Q", "HHQ8x", "Q") if large else ("H", "HHI4x", "I")))
    inside, seen = struct.calcsize(place), set[int]()
    with suppress(struct.error, OverflowError):  # where the file ends too early
        [at] = struct.unpack_from(place, data, 8 if large else 4)
        while at and at not in seen:
            seen.add(at)
            start = at + struct.calcsize(rows)
            end = start + struct.unpack_from(rows, data, at)[0] * struct.calcsize(row)
            tags = struct.iter_unpack(row, data[start:end] if end <= len(data) else b"")
            sizes = (TIFF_BYTES.get(kind, 0) * held for _, kind, held in tags)
            yield sum(size for size in sizes if size > inside)
            [at] = struct.unpack_from(place, data, end)


def answer(data: bytes, formats: list[str], pixels: int, animation: Mapping[str, int] = NO_ANIMATION) -> dict[str, Any]:
    """The record for one file."""
    try:
        return check(data, formats, pixels, animation)
    except UnidentifiedImageError:
        return {"refused": "odd"}
    except MemoryError:
        return {"refused": "memory"}
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


def start_clock(seconds: int) -> None:
    """Gives the next picture its processor time; past that the process ends by SIGXCPU. Not on Windows."""
    try:
        import resource
    except ImportError:
        return
    with suppress(ValueError, OSError):
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (min(math.ceil(time.process_time()) + seconds, most), most))


def send(out: BinaryIO, record: dict[str, Any], raw: bytes = b"") -> None:
    head = json.dumps(record).encode()
    out.write(struct.pack(">I", len(head)) + head)
    out.write(raw)
    out.flush()


def check_all(job: dict[str, Any], out: BinaryIO) -> None:
    """A record for each file, until one comes short."""
    for file in job["files"]:
        start_clock(job["picture_seconds"])
        data = sys.stdin.buffer.read(file["bytes"])
        if len(data) < file["bytes"]:
            sys.exit()
        send(out, answer(data, file["formats"], job["pixels"], job["animation"]))


def watch(job: dict[str, Any], out: BinaryIO) -> None:
    """The frames of one animation, or why there are none."""
    try:
        sys.stdin.buffer.seek(0)  # what was read of it elsewhere moved it on
        for record, raw in frames(sys.stdin.buffer.read(), job):
            send(out, record, raw)
    except Refused as error:
        send(out, {"refused": str(error)})
    except MemoryError:
        send(out, {"refused": "memory"})
    except Exception as error:  # the edge of the process, as in `answer`
        send(out, {"refused": "unreadable", "cause": type(error).__name__})


def main() -> None:
    job = json.loads(sys.argv[1])
    limit_resources(job)
    Image.MAX_IMAGE_PIXELS = None  # the job says how many
    out = sys.stdout.buffer
    (check_all if "files" in job else watch)(job, out)
    send(out, {"end": True})


if __name__ == "__main__":
    main()
