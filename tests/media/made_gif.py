"""GIFs frame by frame, with what Pillow doesn't write: places, palettes of their own, ways to dispose of a frame."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Patch:
    """One frame: a rectangle of one colour, or of none."""

    box: tuple[int, int, int, int]  # left, top, width, height
    colour: Colour | None
    disposal: int = 1  # 2: clear again, 3: as it was before
    hundredths: int = 20


def gif(width: int, height: int, patches: Sequence[Patch], *, background: int = 0) -> bytes:
    """Each patch has a palette of its own in which no colour stands for nothing, unless it is of none."""
    data = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x70, background, 0)
    for patch in patches:
        clear = patch.colour is None
        data += b"!\xf9\x04" + struct.pack("<BHB", patch.disposal << 2 | clear, patch.hundredths, 0) + b"\0"
        data += b"," + struct.pack("<4HB", *patch.box, 0x80) + bytes(patch.colour or (9, 9, 9)) + bytes(3)
        data += b"\2" + _packed(patch.box[2] * patch.box[3])
    return data + b";"


def _packed(pixels: int) -> bytes:
    """So many pixels of the first colour, 3 bits a code, in blocks."""
    codes = [code for start in range(0, pixels, 2) for code in (4, *[0] * min(2, pixels - start))] + [5]
    bits = "".join(f"{code:03b}" for code in reversed(codes))
    packed = int(bits, 2).to_bytes(-(-len(bits) // 8), "little")
    blocks = (packed[n : n + 255] for n in range(0, len(packed), 255))
    return b"".join(bytes((len(block),)) + block for block in blocks) + b"\0"
