"""Pictures that are a clip's frames to that clip: a file that goes the way of every other clip.

Knows JPEG files and a container; nothing is decoded or encoded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from PIL import Image

from ovis_app.limits import Limits, refusal
from ovis_app.media.attach import attach_turns
from ovis_app.media.file_types import HEAD, kind_of
from ovis_app.media.incoming_file import writing

SECOND = Fraction(1)  # between two frames; nobody said how much it was


def clip_of_frames(pictures: Sequence[Path], clip: Path, name: str, limits: Limits) -> None:
    """Writes the pictures, JPEG files of one size, as the frames of a clip, byte by byte as they are. Raises
    MediaError, NoRoom where the clip can't be written."""
    import av  # few requests need it, and the page opens without

    for picture in pictures:
        with picture.open("rb") as file:
            if "JPEG" not in kind_of(file.read(HEAD)).formats:
                raise refusal(name, "has frames that are no JPEG pictures: send each of them as JPEG.")
    attach_turns([[(picture, name)] for picture in pictures], limits)
    sizes = {_size(picture) for picture in pictures}
    if len(sizes) > 1:
        raise refusal(name, "has frames of different sizes: send all of them at one size.")
    [(width, height)] = sizes
    with writing(), clip.open("wb") as written, av.open(written, "w", format="matroska") as out:
        stream = out.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        for number, picture in enumerate(pictures):
            packet = av.Packet(picture.read_bytes())
            packet.stream, packet.time_base, packet.is_keyframe = stream, SECOND, True
            packet.pts = packet.dts = number
            packet.duration = 1
            out.mux(packet)


def _size(picture: Path) -> tuple[int, int]:
    with Image.open(picture, formats=["JPEG"]) as opened:
        width, height = opened.size
        return width, height
