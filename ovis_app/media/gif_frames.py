"""A GIF's frames, composed as browsers compose them: each within its place on a canvas that is clear at first, and
where a frame is disposed of, clear again or as it was before.

Pillow decodes the frames, each as a GIF of its own. It composes them too, but paints what is to be clear in a colour of
the palette where no colour stands for nothing. Runs in the child process and imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

from PIL import Image

CLEAR = (0, 0, 0, 0)
TO_CLEAR, TO_BEFORE = 2, 3  # ways to dispose of a frame
STRIP = 1_000_000  # pixels that are put on the canvas at a time
LARGEST = 4_000_000  # pixels of a frame that is larger than the canvas; what is larger still is damage


class Part(NamedTuple):
    """One frame as it is stored."""

    box: tuple[int, int, int, int]  # left, top, right, bottom on the canvas
    stay: float  # milliseconds
    disposal: int
    alone: bytes  # a GIF of this frame and nothing else


def composed(data: bytes, size: tuple[int, int]) -> Iterator[tuple[Image.Image, float]]:
    """What is on screen, frame by frame, on a canvas of this size, each with how many milliseconds it stays. A picture
    is changed by the next step. Ends where the file is damaged or cut off, by one of the errors that Pillow raises."""
    canvas = Image.new("RGBA", size, CLEAR)
    for number, part in enumerate(parts(data)):
        left, top, right, bottom = part.box
        if (right - left) * (bottom - top) > max(size[0] * size[1], LARGEST):
            return
        inside = (min(left, size[0]), min(top, size[1]), min(right, size[0]), min(bottom, size[1]))
        disposal = TO_CLEAR if not number and part.disposal == TO_BEFORE else part.disposal  # before, all was clear
        before = canvas.crop(inside) if disposal == TO_BEFORE else None
        with Image.open(BytesIO(part.alone), formats=["GIF"]) as stored:
            _put(canvas, stored, inside)
        yield canvas, part.stay
        if before is not None:
            canvas.paste(before, inside)
        elif disposal == TO_CLEAR:
            canvas.paste(CLEAR, inside)


def _put(canvas: Image.Image, stored: Image.Image, inside: tuple[int, int, int, int]) -> None:
    """A frame into its place, some rows at a time: as RGBA it takes four times what it is stored in."""
    left, top, right, bottom = inside
    rows = max(STRIP // max(right - left, 1), 1)
    for begins in range(0, bottom - top, rows):
        ends = min(begins + rows, bottom - top)
        frame = stored.crop((0, begins, right - left, ends)).convert("RGBA")
        canvas.paste(frame, (left, top + begins, right, top + ends), frame)


def parts(data: bytes) -> Iterator[Part]:
    """The frames of a GIF, their pixels not yet decoded. https://www.w3.org/Graphics/GIF/spec-gif89a.txt"""
    flags = data[10]
    at = 13 + _palette(flags)
    shared, control = data[10:at], b""
    while at < len(data):
        mark = data[at : at + 1]
        if mark == b"!":
            end = _behind_blocks(data, at + 2)
            if data[at + 1 : at + 2] == b"\xf9":
                control = data[at:end]
            at = end
        elif mark == b",":
            head = data[at + 1 : at + 10]
            if len(head) < 9:
                return
            left, top, width, height = (int.from_bytes(head[n : n + 2], "little") for n in (0, 2, 4, 6))
            start = at + 10
            end = _behind_blocks(data, start + _palette(head[8]) + 1)
            screen = b"GIF89a" + head[4:8] + shared
            alone = screen + control + b"," + bytes(4) + head[4:] + data[start:end] + b";"
            stay = 10.0 * int.from_bytes(control[4:6], "little")
            yield Part((left, top, left + width, top + height), stay, _disposal(control), alone)
            at, control = end, b""
        elif mark == b";":
            return
        else:  # between two blocks stands nothing, or zeros
            at += 1


def _palette(flags: int) -> int:
    """The bytes of a palette, by the flags that announce it."""
    return 3 << ((flags & 7) + 1) if flags & 128 else 0


def _disposal(control: bytes) -> int:
    return control[3] >> 2 & 7 if len(control) > 3 else 0


def _behind_blocks(data: bytes, at: int) -> int:
    """Where the sub-blocks that begin at `at` end."""
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1
