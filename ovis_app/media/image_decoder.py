"""The child process that checks pictures, and the one that reads animations: files on stdin, a job as JSON in argv,
records on stdout. Pictures come one after the other and get a record each; an animation is alone and gets one a frame.

Runs as a script and imports nothing of the project but three files beside it, so that it starts fast and a picture that
unpacks to gigabytes, hangs or crashes a decoder costs the app nothing. It knows no path and no name. Records are as
`video_decoder` has them.
How a picture is opened and what its colour profile is worth stands here too: what passed is opened the same way.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageChops, ImageCms, ImageFile, UnidentifiedImageError

if __name__ == "__main__":  # a script knows no package: what lies beside it comes behind all else
    sys.path.append(str(Path(__file__).parent))
    import colour_profiles
    import decoder_memory
    import gif_frames
else:
    from ovis_app.media import colour_profiles, decoder_memory, gif_frames

SEVERAL = ("GIF", "PNG", "WEBP", "AVIF")  # formats whose further pictures Pillow counts
MOST_PROFILE = 8_000_000  # bytes; the largest of a printing press have about 3 million
SAME = 3  # of 255: a profile that changes no colour by more is sRGB
# The colour space that a profile must be of, by a picture's mode.
SPACES = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK", "LAB": "Lab "}
# What carries the colours of other modes.
COLOURS = {"LA": "L", "RGBA": "RGB", "P": "RGB"}
LEVELS = {"L;2": 85, "L;4": 17}  # what a step of gray becomes, by how Pillow calls the pixels of a file
SHORTEST, USUAL = 10, 100  # milliseconds: a frame that says to stay no longer than the one stays the other, in browsers
SAME_MOMENT = 0.0005  # seconds between two ways to write when a frame begins
BLANK = 8  # of 255: a frame whose values differ by no more shows nothing
TRY_SECONDS = 2.0  # of processor time that all frames of an animation are tried for
NO_ANIMATION = {"side": 0, "area": 0, "most": 0}  # whose frames are tried
OPEN_SECONDS = 1.0  # of processor time that opening a picture may take; usual ones take a hundredth
MOST_DECODED = 400_000_000  # bytes that a decoder may take, the picture included
# Bytes of a value of a TIFF's types, from BYTE to those of BigTIFF.
TIFF_BYTES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), 1)) | {16: 8, 17: 8, 18: 8}
TRIED = 64  # frames that are looked at for one that shows something


def opened(file: BinaryIO, formats: list[str] | tuple[str, ...]) -> ImageFile.ImageFile:
    """The picture, its pixels not yet decoded. Only Pillow's plugins of these names are tried."""
    if "HEIF" in formats:
        _register_heif()
    try:
        picture = Image.open(file, formats=formats)
    except ValueError:  # a PNG's colour profile unpacks to more than Pillow takes
        if "PNG" not in formats:
            raise
        picture = Image.open(_without_profile(file), formats=formats)
    if picture.format == "PNG":
        _scale_key(picture)
    else:
        colour_profiles.complete(picture, file)
    return picture


def _scale_key(picture: ImageFile.ImageFile) -> None:
    """Brings the colour that stands for nothing to the depth to which a PNG's pixels are decoded; Pillow leaves it as
    it stands in the file."""
    key, depth = picture.info.get("transparency"), str(picture.tile[0].args) if picture.tile else ""
    if isinstance(key, int) and depth in LEVELS:
        picture.info["transparency"] = key * LEVELS[depth]
    elif isinstance(key, tuple) and depth == "RGB;16B":
        picture.info["transparency"] = tuple(part >> 8 for part in key)


@cache
def _register_heif() -> None:
    import pillow_heif  # few pictures need it

    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=2)


def _without_profile(file: BinaryIO) -> BytesIO:
    """A PNG without its iCCP chunk: each chunk is a length, a name, data and a checksum."""
    file.seek(0)
    data = file.read()
    at = 8
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"iCCP":
            return BytesIO(data[:at] + data[end:])
        at = end
    return BytesIO(data)


def count(picture: Image.Image) -> int:
    """How many pictures the file says that it holds: an animation's frames, or pages."""
    if picture.format not in SEVERAL:
        return 1
    held = int(getattr(picture, "n_frames", 1))
    return held - 1 if getattr(picture, "default_image", False) else held  # an APNG's own picture isn't one of them


def likely(claimed: int, picture: Image.Image, data: bytes) -> int:
    """How many pictures there can be: an APNG may claim billions, and each frame has a header."""
    return min(claimed, max(data.count(b"fcTL"), 1)) if picture.format == "PNG" else claimed


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


def check(data: bytes, formats: list[str], pixels: int, animation: Mapping[str, int]) -> dict[str, Any]:
    """What is wrong with a picture, or its size and how many there are: every byte of the first is looked at. JPEGs are
    decoded at an eighth of their size, which reads all of them at a fraction of the cost; PNGs have checksums too. Of
    an animation within these limits all frames are tried: what it claims and doesn't have is `missing`."""
    webp = decoder_memory.webp_pixels(data)
    if webp > pixels:
        return {"refused": "pixels"}
    if decoder_memory.WEBP * webp > MOST_DECODED:
        return {"refused": "memory", "most": MOST_DECODED // decoder_memory.WEBP}
    pages = list(tiff_claims(data))
    if pages and pages[0] > len(data):
        return {"refused": "damaged", "cause": "claims"}
    with quickly_opened(data, formats) as picture:
        size = picture.size
        if size[0] * size[1] > pixels:
            return {"refused": "pixels"}
        needed = decoder_memory.needed(picture, data)
        if needed > MOST_DECODED:
            return {"refused": "memory", "most": int(size[0] * size[1] * MOST_DECODED / needed)}
        claimed = len(pages) or count(picture)
        held = likely(claimed, picture, data)
        picture.verify()
    with opened(BytesIO(data), formats) as picture:
        if getattr(picture, "default_image", False):
            picture.seek(1)
        picture.draft(None, (picture.width // 8 + 1, picture.height // 8 + 1))
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


def frames_there(data: bytes, formats: list[str], held: int) -> int:
    """How many of its frames an animation has, each decoded; what would take long to try is believed."""
    with opened(BytesIO(data), formats) as picture:
        began, tried = time.process_time(), 0
        for tried, _ in enumerate(_on_screen(picture, data), 1):  # noqa: B007 - the last number counts
            if time.process_time() - began > TRY_SECONDS:
                return held
    if not tried:
        raise ValueError("no frame")
    return min(tried, held)


def quickly_opened(data: bytes, formats: list[str]) -> ImageFile.ImageFile:
    """The picture, if it opens as fast as all do: the app opens it again, with everybody waiting. Raises
    UnidentifiedImageError for one of a million parts."""
    if "HEIF" in formats:
        _register_heif()
    began = time.process_time()
    picture = opened(BytesIO(data), formats)
    if time.process_time() - began > OPEN_SECONDS:
        raise UnidentifiedImageError
    return picture


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


# --- animations -----------------------------------------------------------------------------------------------------


class Refused(Exception):
    """The animation can't be read; the text is one of the codes that `animation.py` has a sentence for."""


def frames(data: bytes, job: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """First the colour profile and how long the animation takes, then its frames, composed as a browser shows them: as
    many as were asked for, or the first that shows something where none were. Raises Refused."""
    with opened(BytesIO(data), [job["format"]]) as picture:
        shown: dict[int, Image.Image]
        starts: list[float]
        shown, starts = _sampled(picture, data, job) if job["count"] else (_telling(picture, data, job), [0.0, 0.0])
        profile = picture.info.get("icc_profile") or b""
        profile = profile if len(profile) <= MOST_PROFILE else b""
        yield {"duration": starts[-1] / 1000, "bytes": len(profile)}, profile
        for number, frame in sorted(shown.items()):
            raw = frame.tobytes()
            record = {"time": starts[number] / 1000 if job["count"] else 0.0, "mode": frame.mode, "size": frame.size}
            yield {**record, "bytes": len(raw)}, raw


def _sampled(picture: Image.Image, data: bytes, job: dict[str, Any]) -> tuple[dict[int, Image.Image], list[float]]:
    """The frames on screen in the middle of `count` equal parts of the time, by their numbers, and when each begins,
    the end last. Nobody knows how long frames stay before all were decoded: where they don't stay equally long, the
    file is read once more."""
    total = likely(count(picture), picture, data)
    wanted = _wanted([USUAL] * total, job)
    shown, stays = _read(picture, data, wanted, total, job)
    if not stays:
        raise Refused("no-frames")
    starts = list(accumulate(stays, initial=0.0))
    if job["start"] * 1000 >= starts[-1]:
        raise Refused("past")
    wanted = [number for number in _wanted(stays, job) if not _dropped(starts[number] / 1000, job)]
    if not wanted:
        raise Refused("dropped")
    if not shown.keys() >= set(wanted):
        shown, _ = _read(picture, data, wanted, wanted[-1] + 1, job)
    if sum(stays) > job["seconds"] * 1000:
        raise Refused("long")
    return {number: shown[number] for number in wanted if number in shown}, starts


def _dropped(time: float, job: dict[str, Any]) -> bool:
    """Whether a frame that begins then is to be left out."""
    return any(abs(time - one) < SAME_MOMENT for one in job["dropped"])


def _wanted(stays: Sequence[float], job: dict[str, Any]) -> list[int]:
    """Numbers of as many frames as are wanted, evenly over the time between start and end, none twice; all of them
    where there are no more."""
    most, ends = job["count"], list(accumulate(stays))
    begins = job["start"] * 1000
    over = ends[-1] if job["end"] is None else min(job["end"] * 1000, ends[-1])
    first = min(bisect_right(ends, begins), len(ends) - 1)
    latest = max(min(bisect_left(ends, over) + 1, len(ends)), first + 1)
    if latest - first <= most:
        return list(range(first, latest))
    wanted = [bisect_right(ends, begins + (part + 0.5) * (over - begins) / most) for part in range(most)]
    for place in range(1, most):
        wanted[place] = max(wanted[place], wanted[place - 1] + 1)
    for place in reversed(range(most)):
        latest = wanted[place] = min(wanted[place], latest - 1)
    return wanted


def _on_screen(picture: Image.Image, data: bytes) -> Iterator[tuple[Image.Image, float]]:
    """What is on screen, frame by frame, and for how many milliseconds. A file that is cut off ends early."""
    with suppress(EOFError, OSError, ValueError, SyntaxError, IndexError, RuntimeError, struct.error):
        if picture.format == "GIF":
            yield from gif_frames.composed(data, picture.size)
            return
        first = 1 if getattr(picture, "default_image", False) else 0
        for number in range(first, first + count(picture)):
            picture.seek(number)
            picture.load()
            yield picture, float(picture.info.get("duration") or 0)


def _read(
    picture: Image.Image, data: bytes, wanted: Collection[int], total: int, job: dict[str, Any]
) -> tuple[dict[int, Image.Image], list[float]]:
    """The wanted ones of the first `total` frames, and for how many milliseconds each stays."""
    shown: dict[int, Image.Image] = {}
    stays: list[float] = []
    for number, (frame, stay) in zip(range(total), _on_screen(picture, data), strict=False):
        stays.append(stay if SHORTEST < stay < math.inf else USUAL)
        if number in wanted:
            shown[number] = _scaled(frame, job["side"], job["area"] / len(wanted))
    return shown, stays


def _telling(picture: Image.Image, data: bytes, job: dict[str, Any]) -> dict[int, Image.Image]:
    """The first frame that shows something, else the first."""
    found: Image.Image | None = None
    tried = max(min(TRIED, job["area"] // (picture.width * picture.height)), 1)
    for _, (whole, _) in zip(range(tried), _on_screen(picture, data), strict=False):
        frame = _scaled(whole, max(picture.size), job["area"])
        if _shows(frame):
            return {0: frame}
        found = found or frame
    if found is None:
        raise Refused("no-frames")
    return {0: found}


def _scaled(picture: Image.Image, side: int, area: float) -> Image.Image:
    """A copy as RGB or RGBA, no larger than that."""
    clear = picture.has_transparency_data
    if clear and picture.mode == "RGBA":
        clear = picture.getchannel("A").getextrema() != (255, 255)
    frame = picture.convert("RGBA" if clear else "RGB")
    shrink = min(1.0, side / max(frame.size), math.sqrt(area / (frame.width * frame.height)))
    if shrink == 1.0:
        return frame
    width, height = (max(1, int(length * shrink)) for length in frame.size)
    return frame.resize((width, height), Image.Resampling.BOX)


def _shows(frame: Image.Image) -> bool:
    """Whether there is anything to see: no single colour, not all transparent."""
    extrema: Any = frame.getextrema()
    spans = [high - low for low, high in extrema]
    if frame.mode == "RGBA":
        if extrema[-1][1] <= BLANK:
            return False
        if spans.pop() > BLANK:
            return True
    return bool(max(spans) > BLANK)


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
