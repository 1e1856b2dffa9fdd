"""Image files to upright, opaque sRGB pictures. Knows Pillow's formats; knows nothing of models, and of clips only that
some pictures move.

What people attach is checked by `image_decoder`, in a process that can be killed, a few messages at a time; what passed
is opened here. Size is checked before a pixel is decoded, only the formats that `file_types` names are tried, and a
damaged file is refused rather than shown half gray.
"""

from __future__ import annotations

import logging
import math
import struct
import threading
import time
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, UnidentifiedImageError

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits, refusal
from ovis_app.media import decoder_process, gif_frames
from ovis_app.media.animation import FORMATS, moves, telling_frame
from ovis_app.media.file_types import HEAD, Kind, kind_of
from ovis_app.media.opaque import upright_opaque
from ovis_app.media.picture_opening import opened, size_of
from ovis_app.media.split import cut
from ovis_app.stop import NEVER

log = logging.getLogger(__name__)

ORIENTATION = 0x0112  # the EXIF tag
# Bytes of EXIF data that are read: what one segment of a JPEG holds. Tags may claim the same bytes over and over, and
# Pillow copies them for each: 5 MB were made 2 GB, and 50 MB could be terabytes.
MOST_EXIF = 64 * 1024
_HEX_EXIF = "Raw profile type exif"  # the text of a PNG that holds it where ImageMagick wrote it

# Pillow's decoders fail in many families; these are the ones that damaged files were seen to raise.
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    SyntaxError,
    EOFError,
    OverflowError,
    RuntimeError,
    NotImplementedError,
    struct.error,
    zlib.error,
)
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError)

_open_places = threading.BoundedSemaphore(2)  # pictures decoded in full at a time, whoever asks

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Checked:
    """A picture that passed: how many its file holds, whether they are an animation to be watched, and how many more
    frames it claims."""

    pictures: int
    moves: bool
    missing: int = 0


LOOK_SECONDS = 40.0  # that all files of one question may take before another is looked at
UNSEEN = "wasn't looked at, since the files before it took too long: send it by itself."
LYING = (5, 6, 7, 8)  # orientations that stand on a side


def open_image(media: Media, limits: Limits) -> Image.Image:
    """The picture as RGB in sRGB, upright as its EXIF data says. Transparent parts become white, or what contrasts with
    the rest; 16-bit values are scaled to 8. Of an animation it is the first frame that shows something, or where
    frames are larger than a clip's the first; of several pages the first, of an icon the largest, and of a picture that
    was split its piece. Raises MediaError."""
    with _open_places:
        whole = _whole(media, limits)
    return whole if media.detail.piece is None else cut(whole, media.detail.piece)


def _whole(media: Media, limits: Limits) -> Image.Image:
    with _opened(media.path, media.label, limits) as picture:
        large = picture.width * picture.height > limits.video_pixels
        if media.pictures == 1 or large or picture.format not in FORMATS:
            first, about = _first(picture, media.path), picture.info
            turn = _UPRIGHT.get(_orientation(picture))
            return upright_opaque(first, about.get("icc_profile"), turn, about.get("transfer", 0))
        return _upright(telling_frame(media.path, media.label, limits), _orientation(picture))


def _first(picture: ImageFile.ImageFile, path: Path) -> Image.Image:
    """The one picture that a browser shows of the file, decoded."""
    if getattr(picture, "default_image", False):  # for whoever can't read the animation, which has one frame
        picture.seek(1)
    if picture.format == "GIF" and picture.tile[0].extents != (0, 0, *picture.size):  # Pillow paints what is clear
        return next((canvas for canvas, _ in gif_frames.composed(path.read_bytes(), picture.size)), picture)
    picture.load()
    return picture


def upright_frames(frames: Sequence[Image.Image], media: Media, limits: Limits) -> tuple[Image.Image, ...]:
    """An animation's frames as its EXIF data says that they stand. Raises MediaError."""
    with _opened(media.path, media.label, limits) as picture:
        orientation = _orientation(picture)
    return tuple(_upright(frame, orientation) for frame in frames)


def upright_size(media: Media, limits: Limits) -> tuple[int, int]:
    """Width and height of what `open_image` gives, without its pixels. Raises MediaError."""
    with _opened(media.path, media.label, limits) as picture:
        width, height = size_of(picture)
        if picture.format == "TIFF":  # Pillow turns these when it opens them
            return width, height
        return (height, width) if _orientation(picture) in LYING else (width, height)


def check_images(files: Sequence[tuple[Path, str]], limits: Limits) -> list[MediaError | Checked]:
    """For each picture, given as its path and name: why `open_image` would refuse it, or what it is."""
    verdicts: list[MediaError | Checked] = []
    ends = math.inf  # nobody's wait for a process counts
    while len(verdicts) < len(files):  # a picture that ends its process doesn't end the others
        if time.monotonic() > ends:
            verdicts.append(refusal(files[len(verdicts)][1], UNSEEN))
            continue
        with closing(_checked(files[len(verdicts) :], limits)) as checked:
            for verdict in checked:
                verdicts.append(verdict)
                ends = min(ends, time.monotonic() + LOOK_SECONDS)
                if time.monotonic() > ends:
                    break
    return verdicts


def _checked(files: Sequence[tuple[Path, str]], limits: Limits) -> Generator[MediaError | Checked, None, None]:
    """The verdicts of one process: at least one, and as many as it lives for."""
    given: list[tuple[Path, int]] = []
    jobs: list[dict[str, Any]] = []
    kinds: list[Kind] = []
    for path, name in files:
        try:
            with path.open("rb") as file:
                kind = kind_of(file.read(HEAD))
            jobs.append({"formats": _formats(kind, name), "bytes": path.stat().st_size})
            kinds.append(kind)
            given.append((path, jobs[-1]["bytes"]))
        except (MediaError, OSError) as error:
            if not given:
                yield error if isinstance(error, MediaError) else _unreadable(name, error)
                return
            break  # first what stands before it
    job = {"files": jobs, "pixels": limits.image_pixels, "memory": limits.check_memory}
    job["animation"] = {"side": limits.video_pixels, "area": limits.animation_pixels, "most": limits.animation_frames}
    job["picture_seconds"] = limits.picture_seconds
    job["cpu_seconds"] = int(limits.decode_seconds * 4 * len(jobs)) + 1
    names = [name for _, name in files[: len(given)]]
    try:
        with closing(decoder_process.image_records(given, job, limits, NEVER)) as records:
            for record, _ in records:
                yield _verdict(names.pop(0), kinds.pop(0), record, limits)
        if names:
            raise decoder_process.Broken
    except decoder_process.OutOfTime:
        yield refusal(names[0], "takes too long to read: scale it down and attach it again.")
    except (decoder_process.Broken, OSError, IndexError, TypeError, ValueError) as error:
        log.info("image refused: %s", type(error).__name__)
        if names:
            yield _unreadable(names[0], error)


def _verdict(name: str, kind: Kind, record: dict[str, Any], limits: Limits) -> MediaError | Checked:
    reason = record.get("refused")
    if reason is None:
        pictures, (width, height) = int(record.get("pictures", 1)), record.get("size", (0, 0))
        moving = moves(kind, pictures, (int(width), int(height)), limits)
        return Checked(pictures, moving, int(record.get("missing", 0)))
    log.info("image refused: %s %s", reason, record.get("cause", ""))
    if reason == "pixels":
        return _too_large(name, limits)
    if reason == "memory" and "most" in record:
        most = f"{float(record['most']) / 1e6:.1f}".removesuffix(".0")
        why = f"has more than the {most} million pixels that can be read of a picture stored as it is"
        return refusal(name, f"{why}: save it as PNG, or scale it down.")
    if reason == "memory":
        return refusal(name, "needs too much memory to read: scale it down and attach it again.")
    return _unreadable(name, UnidentifiedImageError() if reason == "odd" else None)


@contextmanager
def _opened(path: Path, name: str, limits: Limits) -> Iterator[ImageFile.ImageFile]:
    """The picture, its size checked, its pixels not yet decoded; what goes wrong inside is a MediaError too."""
    try:
        with path.open("rb") as file:
            formats = _formats(kind_of(file.read(HEAD)), name)
            file.seek(0)
            with opened(file, formats, limits.image_pixels) as picture:
                _check_size(picture, name, limits)
                yield picture
    except MediaError:
        raise
    except _TOO_LARGE as error:
        raise _too_large(name, limits) from error
    except _DAMAGE as error:
        log.info("image refused: %s", type(error).__name__)
        raise _unreadable(name, error) from error


def _formats(kind: Kind, name: str) -> tuple[str, ...]:
    if kind.media != "image":
        raise refusal(name, kind.advice or "is not a picture: attach it as a clip instead.")
    return kind.formats


def _check_size(picture: ImageFile.ImageFile, name: str, limits: Limits) -> None:
    if math.prod(size_of(picture)) > limits.image_pixels:
        raise _too_large(name, limits)


def _too_large(name: str, limits: Limits) -> MediaError:
    most = limits.image_pixels / 1e6
    return refusal(name, f"has more than {most:g} million pixels: scale it down and attach it again.")


def _unreadable(name: str, error: BaseException | None) -> MediaError:
    if isinstance(error, FileNotFoundError):
        return refusal(name, "is no longer here: attach it again.")
    if isinstance(error, UnidentifiedImageError):
        return refusal(name, "is damaged or of an unusual kind: save it again as PNG or JPEG and attach that.")
    return refusal(name, "is damaged or incomplete: save or download it again and attach that.")


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 when there is none or it can't be read."""
    try:
        if "exif" not in picture.info and _HEX_EXIF in picture.info:  # after three lines that say what it is
            picture.info["exif"] = bytes.fromhex("".join(picture.info[_HEX_EXIF].split("\n")[3:]))
        if "exif" in picture.info:
            picture.info["exif"] = picture.info["exif"][:MOST_EXIF]
        return int(picture.getexif().get(ORIENTATION, 1))
    except _DAMAGE:
        return 1


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return picture if turn is None else picture.transpose(turn)
