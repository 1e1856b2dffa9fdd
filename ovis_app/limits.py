"""How large an attached file may be, and how a refusal is worded. Knows no file formats and opens nothing."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

from ovis_app.errors import MediaError

NAME_LENGTH = 80  # characters of a file name that a sentence shows
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """What one attached file may cost. The defaults keep a picture or a clip under 500 MB of memory and 10 s."""

    image_bytes: int = 50 * MEGABYTE  # size of an image file
    image_pixels: int = 60_000_000  # width x height of a picture
    video_bytes: int = 500 * MEGABYTE  # size of a video file
    video_seconds: float = 1800.0  # length of a clip
    video_pixels: int = 16_000_000  # width x height of a clip's frame as stored; 5.3K passes, 8K does not
    files_per_turn: int = 16  # files in one message
    clips_per_turn: int = 16  # clips among those
    frame_side: int = 2048  # pixels; longer sides of sampled frames are scaled down to it
    clip_pixels: int = 64_000_000  # width x height x count of all the frames sampled from one clip
    decode_pixels: int = 2_000_000_000  # width x height x frames decoded to reach those wanted; see `sample_frames`
    animation_pixels: int = 250_000_000  # width x height x frames of an animation: all are decoded to reach one
    animation_frames: int = 20_000  # frames of an animation
    decode_seconds: float = 20.0  # wall-clock time for one reading of a clip
    decode_memory: int = 1536 * MEGABYTE  # bytes of address space of the decoding process (about 350 MB when idle)
    image_memory: int = 1024 * MEGABYTE  # the same for the pictures of a message that are copied, one after the other
    check_memory: int = 700 * MEGABYTE  # and for those that are looked at (about 100 MB when idle)
    copy_bytes: int = 64 * MEGABYTE  # size of the copy that people see; larger clips are encoded anew
    copy_pixels: int = 1_500_000_000  # width x height x frames decoded to encode a clip for people
    copy_seconds: float = 4.0  # wall-clock time for that
    picture_seconds: int = 8  # processor time for looking at one; `decode_seconds` of the clock on a busy machine
    document_bytes: int = 100 * MEGABYTE  # size of a PDF
    document_pages: int = 20_000  # pages that a PDF may have; how many are looked at is `files_per_turn`
    document_seconds: float = 60.0  # wall-clock time for drawing all the pages of one question
    document_memory: int = 400 * MEGABYTE  # bytes of address space of the process that draws, beside the PDF itself
    page_pixels: int = 1792 * 1792  # width x height at which a page is drawn: what Ovis2.5 sees of a picture at most
    page_most_pixels: int = 16_000_000  # the same where a resolution is asked for
    page_seconds: int = 8  # processor time for drawing one page; `decode_seconds` of the clock on a busy machine

    def for_clips(self, *, several: bool) -> Limits:
        """The limits for a model that watches `several` clips in one message, or one."""
        return self if several else replace(self, clips_per_turn=1)


def shown_name(name: str) -> str:
    """The last part of a user's file name, safe to print: no folders, no control or direction marks, not too long."""
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    plain = "".join(" " if unicodedata.category(c).startswith(("C", "Zl", "Zp")) else c for c in last)
    plain = " ".join(plain.split()).strip(". ") and " ".join(plain.split())
    if len(plain) > NAME_LENGTH:
        keep = NAME_LENGTH // 2
        plain = f"{plain[: keep - 1]}…{plain[-keep:]}"
    return plain or "file"


def refusal(name: str, rest: str) -> MediaError:
    """The error whose sentence is the quoted file name followed by `rest`."""
    return MediaError(f"“{shown_name(name)}” {rest}")


def count_of(number: float, unit: str) -> str:
    """`30 minutes`, `1 minute`, `2.5 minutes`."""
    text = f"{number:.1f}".rstrip("0").rstrip(".")
    return f"{text} {unit}" if text == "1" else f"{text} {unit}s"
