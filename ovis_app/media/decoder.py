"""The child process that reads clips: a video file on stdin, a job as JSON in argv, records on stdout.

Runs as a script and imports nothing of the project, so that it starts fast and a crash or a runaway clip costs the app
nothing. It knows no path and no name, and FFmpeg may open no other file or address.

A record is a 4-byte big-endian length, a JSON object of that length, and as many raw bytes as its "bytes" says.
"""

from __future__ import annotations

import errno
import json
import math
import os
import struct
import sys
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation
from av.video.stream import VideoStream

SNAP = 0.1  # a keyframe this near to a wanted time, as a share of the distance between wanted times, is taken instead
THREADS = 4
UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
MOST_PACKETS = 2_000_000

# Rows of a display matrix, rounded, and the PIL turn that does the same (y points down).
TURNS = {
    (0, 1, -1, 0): "ROTATE_270",
    (-1, 0, 0, -1): "ROTATE_180",
    (0, -1, 1, 0): "ROTATE_90",
    (-1, 0, 0, 1): "FLIP_LEFT_RIGHT",
    (1, 0, 0, -1): "FLIP_TOP_BOTTOM",
    (0, 1, 1, 0): "TRANSPOSE",
    (0, -1, -1, 0): "TRANSVERSE",
}


class Refused(Exception):
    """The clip can't be read; the text is one of the codes that `video.py` has a sentence for."""


class Timeline:
    """The presentation times of a clip's frames in its time base, ascending, as its packets state them: headers lie."""

    def __init__(self, stamps: list[int], keys: list[int], last: int, base: Fraction) -> None:
        self.stamps = sorted(set(stamps))
        self.keys = sorted(set(keys))
        self.base = base
        self.start = self.stamps[0]
        self.end = self.stamps[-1] + last

    @property
    def duration(self) -> float:
        return float((self.end - self.start) * self.base)

    def seconds(self, stamp: int) -> float:
        return float((stamp - self.start) * self.base)

    def wanted(self, count: int) -> list[int]:
        """The frames on screen in the middle of `count` equal parts; all of them where there are no more than that.

        A keyframe within `SNAP` of a part takes the middle's place: it costs one decoded frame in place of hundreds.
        """
        if len(self.stamps) <= count:
            return self.stamps
        part = (self.end - self.start) / count
        return sorted({self._near(self.start + (i + 0.5) * part, part * SNAP) for i in range(count)})

    def key_before(self, stamp: int) -> int:
        """The last keyframe up to `stamp`, or the start."""
        at = bisect_right(self.keys, stamp)
        return self.keys[at - 1] if at else self.start

    def _near(self, time: float, slack: float) -> int:
        at = bisect_right(self.keys, time)
        close = [key for key in self.keys[max(at - 1, 0) : at + 1] if abs(key - time) <= slack]
        if close:
            return min(close, key=lambda key: abs(key - time))
        return self.stamps[max(bisect_right(self.stamps, time) - 1, 0)]


class Clip:
    """One open video stream. Positions are timestamps in the stream's time base."""

    def __init__(self, file: BinaryIO, job: dict[str, Any]) -> None:
        self.file = file
        self.job = job
        self.rewind()

    def rewind(self) -> None:
        """Open the file anew: works where seeking does not."""
        self.file.seek(0)
        options = {"protocol_whitelist": "none", "max_pixels": str(self.job["pixels"])}
        self.container: InputContainer = av.open(
            self.file, "r", format=self.job["format"], container_options=options, buffer_size=1 << 18
        )
        self.stream = self._pick_stream()
        context = self.stream.codec_context
        if context.width * context.height > self.job["pixels"]:
            raise Refused("pixels")
        context.options = {"max_pixels": str(self.job["pixels"])}
        context.thread_type = "AUTO"
        context.thread_count = min(THREADS, os.cpu_count() or 1)

    def _pick_stream(self) -> VideoStream:
        moving = [s for s in self.container.streams.video if not s.disposition & Disposition.attached_pic]
        if not moving:
            raise Refused("no-video")
        for other in self.container.streams:
            if other is not moving[0]:
                other.discard = Discard.all
        return moving[0]

    def timeline(self) -> Timeline:
        """Reads all packets and decodes none. Raises Refused when the clip is too long or has no frames."""
        base = self.stream.time_base or Fraction(1, 1000)
        longest = self.job["seconds"] / base
        stamps: list[int] = []
        keys: list[int] = []
        greatest: int | None
        greatest, last = None, 0
        for packet in self._packets():
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is None or packet.is_discard:
                continue
            stamps.append(stamp)
            if packet.is_keyframe:
                keys.append(stamp)
            if greatest is None or stamp > greatest:
                greatest, last = stamp, packet.duration or 0
            if stamp - stamps[0] > longest or len(stamps) > MOST_PACKETS:
                raise Refused("long")
        if not stamps:
            raise Refused("no-frames")
        return Timeline(stamps, keys, last or self._frame_ticks(base), base)

    def _frame_ticks(self, base: Fraction) -> int:
        rate = self.stream.average_rate
        return round(1 / (rate * base)) if rate else 0

    def _packets(self) -> Iterator[Any]:
        """The stream's packets up to the end or to the first damage that hides the rest."""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                return
            if packet.size:
                yield packet

    def frames(self) -> Iterator[tuple[int, VideoFrame]]:
        """Frames with their timestamps from here on; what can't be decoded is passed over."""
        for packet in self._packets():
            yield from self._decode(packet)
        yield from self._decode(None)  # what the decoder still holds

    def _decode(self, packet: Any) -> Iterator[tuple[int, VideoFrame]]:
        try:
            decoded = self.stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise Refused("memory") from error
            return
        for frame in decoded:
            if frame.width * frame.height > self.job["pixels"]:
                raise Refused("pixels")
            stamp = frame.dts if frame.pts is None else frame.pts
            if stamp is not None:
                yield stamp, frame

    def seek(self, stamp: int) -> bool:
        try:
            self.container.seek(stamp, stream=self.stream)
        except av.FFmpegError:
            return False
        return True

    def at(self, wanted: list[int], times: Timeline) -> Iterator[tuple[int, VideoFrame]]:
        """The frames at the `wanted` times (ascending), or the next that can be decoded, each once.

        Jumps to a keyframe where that saves decoding; once a jump has missed, reads straight through instead.
        """
        self.rewind()
        frames, here, jumping = self.frames(), times.start - 1, True
        for stamp in (stamp for stamp in wanted if stamp > here):
            key = times.key_before(stamp)
            if jumping and key > max(here, times.start):
                jumping = self.seek(key)
                frames = self.frames()
                ahead = next(frames, None)
                if ahead is None or ahead[0] > stamp:
                    jumping = False
                if jumping and ahead is not None:
                    frames = chain([ahead], frames)
                else:
                    self.rewind()
                    frames = self.frames()
            found = next((pair for pair in frames if pair[0] >= stamp), None)
            if found is None:
                return
            here = found[0]
            yield found


def square_size(frame: VideoFrame, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height in square pixels; the side that the sample aspect ratio enlarges grows, none shrinks."""
    if not aspect or not Fraction(1, 8) <= aspect <= 8:
        return frame.width, frame.height
    if aspect >= 1:
        return round(frame.width * aspect), frame.height
    return frame.width, round(frame.height / aspect)


def turn_of(frame: VideoFrame) -> str:
    """The PIL turn that sets the frame upright, or nothing; odd angles are left as they are."""
    side_data: Any = frame.side_data
    try:
        matrix = struct.unpack("=9i", bytes(side_data[SideDataType.DISPLAYMATRIX]))
    except (KeyError, struct.error):
        return ""
    a, b, c, d = (round(matrix[i] / 65536) for i in (0, 1, 3, 4))
    return TURNS.get((a, b, c, d), "")


def pixels_of(frame: VideoFrame, width: int, height: int) -> bytes:
    """The frame as packed RGB rows of the given size."""
    smaller = width < frame.width or height < frame.height
    guess = Colorspace.ITU709 if frame.colorspace == UNSPECIFIED and frame.height >= 720 else None
    shown = frame.reformat(
        width,
        height,
        "rgb24",
        src_colorspace=guess,
        interpolation=Interpolation.AREA if smaller else Interpolation.BICUBIC,
    )
    plane = shown.planes[0]
    rows, row = memoryview(plane), width * 3
    if plane.line_size == row:
        return bytes(rows)
    return b"".join(rows[y * plane.line_size : y * plane.line_size + row] for y in range(height))


def read(job: dict[str, Any], file: BinaryIO) -> Iterator[tuple[dict[str, Any], bytes]]:
    """First what the clip is, then its frames. Raises Refused."""
    clip = Clip(file, job)
    times = clip.timeline()
    rate = clip.stream.average_rate
    yield {"duration": times.duration, "fps": float(rate) if rate else 0.0}, b""
    wanted = times.wanted(job["count"]) if job["count"] else times.stamps[:1]
    aspect = clip.stream.sample_aspect_ratio
    for stamp, frame in clip.at(wanted, times):
        full = square_size(frame, aspect)
        shrink = min(1.0, job["side"] / max(full), math.sqrt(job["area"] / len(wanted) / (full[0] * full[1])))
        width, height = (max(1, int(side * shrink)) for side in full)
        raw = pixels_of(frame, width, height)
        record = {"time": times.seconds(stamp), "width": width, "height": height, "full": full, "turn": turn_of(frame)}
        yield {**record, "bytes": len(raw)}, raw


def limit_resources(job: dict[str, Any]) -> None:
    """The last line of defence, should the parent's clock fail. Not on Windows."""
    try:
        import resource
    except ImportError:
        return
    wishes = {"RLIMIT_AS": job["memory"], "RLIMIT_CPU": job["cpu_seconds"], "RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0}
    for name, value in wishes.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (ValueError, OSError, AttributeError):
            continue


def send(out: BinaryIO, record: dict[str, Any], raw: bytes = b"") -> None:
    head = json.dumps(record).encode()
    out.write(struct.pack(">I", len(head)) + head)
    out.write(raw)
    out.flush()


def main() -> None:
    job = json.loads(sys.argv[1])
    limit_resources(job)
    av.logging.set_level(None)
    out = sys.stdout.buffer
    try:
        for record, raw in read(job, sys.stdin.buffer):
            send(out, record, raw)
        send(out, {"end": True})
    except Refused as error:
        send(out, {"refused": str(error)})
    except MemoryError:
        send(out, {"refused": "memory"})
    except Exception as error:  # the edge of the process: any failure of a decoder is the same to the user
        send(out, {"refused": "unreadable", "cause": type(error).__name__})


if __name__ == "__main__":
    main()
