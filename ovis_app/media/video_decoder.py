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
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from copy import copy
from fractions import Fraction
from itertools import chain, count, islice
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Discard, Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation
from av.video.stream import VideoStream

SNAP = 0.1  # a keyframe this near to a wanted time, as a share of the distance between wanted times, is taken instead
SAME_MOMENT = 0.0005  # seconds between two ways to write when a frame begins
THREADS = 4
UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
MOST_PACKETS = 2_000_000
FEWEST = 0.25  # share of the frames asked for that keyframes alone must give to be taken
COUNTED = 5_000  # packets that are looked at to tell which of several streams moves
STILL = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails


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
        self.begins: float = self.start  # of the part that frames are taken from
        self.ends: float = self.end
        self.every = self.stamps  # of a part, `stamps` are fewer

    def seconds(self, stamp: int) -> float:
        return float((stamp - self.start) * self.base)

    def part(self, start: float, end: float | None) -> Timeline:
        """That of the frames on screen between these seconds, whose own count from the clip's beginning still. Raises
        Refused where there are none."""
        begins = self.start + max(start, 0) / self.base
        ends = self.end if end is None else min(self.start + end / self.base, self.end)
        if begins >= max(self.end, self.stamps[-1] + 1):
            raise Refused("past")
        first = max(bisect_right(self.stamps, begins) - 1, 0)
        last = max(bisect_left(self.stamps, ends), first + 1)
        part = copy(self)
        part.stamps = self.stamps[first:last]
        part.begins, part.ends = begins, max(ends, begins)
        return part

    def wanted(self, count: int, budget: float) -> list[int]:
        """The frames on screen in the middle of `count` equal parts; all of them where there are no more than that.
        Where one is on screen in several middles, its neighbours are taken for the others.

        A keyframe within `SNAP` of a part takes the middle's place: it costs one decoded frame in place of hundreds.
        Where more than `budget` frames would have to be decoded, the nearest keyframes are taken, if there are enough.
        """
        if len(self.stamps) <= count:
            return self.stamps
        part = (self.ends - self.begins) / count
        middles = [self.begins + (i + 0.5) * part for i in range(count)]
        slack = part * SNAP if len(self.stamps) * SNAP >= count else 0  # a frame or more, or two parts could meet
        exact = self._each_once([self._near(middle, slack) for middle in middles])
        if not self.keys or self.cost(exact) <= budget:
            return exact
        rough = sorted({self._near(middle, math.inf) for middle in middles})
        return rough if len(rough) >= count * FEWEST else exact

    def _each_once(self, chosen: list[int]) -> list[int]:
        """As many different frames as were chosen, each as near to the chosen one as its place in the row allows."""
        places = [bisect_left(self.stamps, stamp) for stamp in chosen]
        for at in range(1, len(places)):
            places[at] = max(places[at], places[at - 1] + 1)
        most = len(self.stamps) - 1
        for at in reversed(range(len(places))):
            places[at] = min(places[at], most)
            most = places[at] - 1
        return [self.stamps[place] for place in places]

    def cost(self, wanted: list[int]) -> int:
        """Frames to decode for `wanted`, each from its keyframe or from the one before it, whichever is nearer."""
        here, cost = -1, 0
        for stamp in wanted:
            at, key = bisect_right(self.every, stamp), bisect_right(self.every, self.key_before(stamp)) - 1
            cost += at - max(key, here)
            here = at
        return cost

    def key_before(self, stamp: int) -> int:
        """The last keyframe up to `stamp`, or the start."""
        at = bisect_right(self.keys, stamp)
        return self.keys[at - 1] if at else self.start

    def _near(self, time: float, slack: float) -> int:
        at = bisect_right(self.keys, time)
        near = (key for key in self.keys[max(at - 1, 0) : at + 1] if self.stamps[0] <= key <= self.stamps[-1])
        close = [key for key in near if abs(key - time) <= slack]
        if close:
            return min(close, key=lambda key: abs(key - time))
        return self.stamps[max(bisect_right(self.stamps, time) - 1, 0)]


class Clip:
    """One open video stream. Positions are timestamps in the stream's time base, or where a bare stream of frames has
    none, the frames' numbers."""

    def __init__(self, file: BinaryIO, job: dict[str, Any]) -> None:
        self.file = file
        self.job = job
        self.numbered = False
        self.container = self._open()
        self.chosen = self._choose().index
        self.rewind()

    def _open(self) -> InputContainer:
        self.file.seek(0)
        return av.open(
            self.file,
            "r",
            format=self.job["format"],
            options={"max_pixels": str(self.job["pixels"])},  # opening decodes frames to learn their format
            container_options={"protocol_whitelist": "none"},
            metadata_errors="replace",  # titles in an old encoding are no reason to refuse a clip
            buffer_size=1 << 18,
        )

    def rewind(self) -> None:
        """Open the file anew: works where seeking does not."""
        self.container = self._open()
        self.numbers = count()
        self.stream = next(stream for stream in self.container.streams.video if stream.index == self.chosen)
        for other in self.container.streams:
            if other is not self.stream:
                other.discard = Discard.all
        context = self.stream.codec_context
        self._check_size(context)
        if not context.width:  # so FFmpeg says that the size is unknown, or more than the limit
            raise Refused("size")
        context.options = {"max_pixels": str(self.job["pixels"])}
        context.thread_type = "AUTO"
        context.thread_count = min(THREADS, os.cpu_count() or 1)

    def _check_size(self, pictured: VideoFrame | VideoCodecContext) -> None:
        if pictured.width * pictured.height > self.job["pixels"]:
            raise Refused("pixels")

    def _choose(self) -> VideoStream:
        """The stream that players show: one that moves, of those the default, of those with most frames the largest."""
        moving = [stream for stream in self.container.streams.video if not stream.disposition & STILL]
        if not moving:
            raise Refused("no-video" if self.container.streams else "unreadable")
        known = [stream for stream in moving if stream.codec_context is not None]
        if len(known) < 2:
            if not known:
                raise Refused("codec")
            return known[0]
        frames = Counter(packet.stream.index for packet in islice(self._packets(*known), COUNTED))  # headers lie
        most = max(frames.values(), default=0)

        def rank(stream: VideoStream) -> tuple[bool, bool, bool, int]:
            seen, context = frames[stream.index], stream.codec_context
            default = bool(stream.disposition & Disposition.default)
            return seen > 1, default, seen >= 0.9 * most, context.width * context.height

        return max(known, key=rank)

    def timeline(self) -> Timeline:
        """Reads all packets and decodes none. Raises Refused when the clip is too long or has no frames."""
        base = self.stream.time_base or Fraction(1, 1000)
        unstamped = 0
        longest = self.job["seconds"] / base
        stamps: list[int] = []
        keys: list[int] = []
        greatest: int | None
        greatest, last = None, 0
        for packet in self._packets(self.stream):
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is None or packet.is_discard:
                unstamped += not packet.is_discard
                continue
            stamps.append(stamp)
            if packet.is_keyframe:
                keys.append(stamp)
            if greatest is None or stamp > greatest:
                greatest, last = stamp, packet.duration or 0
            if stamp - stamps[0] > longest or len(stamps) > MOST_PACKETS:
                raise Refused("long")
        if unstamped and not stamps:
            return self._numbered(unstamped)
        if not stamps:
            raise Refused("no-frames")
        rate = self.stream.average_rate
        return Timeline(stamps, keys, last or (round(1 / (rate * base)) if rate else 0), base)

    def _numbered(self, frames: int) -> Timeline:
        """The timeline of a bare stream, whose frames tell no times: they follow each other at the rate it states."""
        self.numbered = True
        base = 1 / (self.stream.guessed_rate or self.stream.average_rate or Fraction(25))
        if frames * base > self.job["seconds"]:
            raise Refused("long")
        return Timeline(list(range(frames)), [0], 1, base)

    def _packets(self, *streams: VideoStream) -> Iterator[Any]:
        """The streams' whole packets up to the end or to the first damage that hides the rest."""
        packets = self.container.demux(*streams)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                return
            if packet.size and not packet.is_corrupt:
                yield packet

    def frames(self, wanted: Collection[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Frames with their timestamps from here on; what can't be decoded is passed over, and so are frames that are
        neither `wanted` nor needed for others."""
        for packet in self._packets(self.stream):
            spare = packet.pts is not None and packet.pts not in wanted
            self.stream.codec_context.skip_frame = "NONREF" if spare else "DEFAULT"
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
            self._check_size(frame)
            stamp = next(self.numbers) if self.numbered else frame.dts if frame.pts is None else frame.pts
            if stamp is not None:
                yield stamp, frame

    def _seek(self, stamp: int) -> bool:
        with suppress(av.FFmpegError):
            self.container.seek(stamp, stream=self.stream)
            return True
        return False

    def at(self, wanted: list[int], times: Timeline) -> Iterator[tuple[int, VideoFrame]]:
        """The frames at the `wanted` times (ascending), or the next that can be decoded, each once.

        Jumps to a keyframe where that saves decoding; once a jump has missed, reads straight through instead.
        """
        self.rewind()
        chosen = frozenset(wanted)
        frames, here, jumping = self.frames(chosen), times.start - 1, True
        for stamp in (stamp for stamp in wanted if stamp > here):
            key = times.key_before(stamp)
            if jumping and key > max(here, times.start):
                landed = self.frames(chosen)
                first = next(landed, None) if self._seek(key) else None
                jumping = first is not None and first[0] <= stamp
                if first is not None and jumping:
                    frames = chain([first], landed)
                else:
                    self.rewind()
                    frames = self.frames(chosen)
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


def matrix_of(frame: VideoFrame) -> list[int]:
    """The upper left of the display matrix by rows, rounded to -1, 0 or 1: how a phone was held."""
    side_data: Any = frame.side_data
    try:
        matrix = struct.unpack("=9i", bytes(side_data[SideDataType.DISPLAYMATRIX]))
    except (KeyError, struct.error):
        return [1, 0, 0, 1]
    return [round(matrix[i] / 65536) for i in (0, 1, 3, 4)]


def pixels_of(frame: VideoFrame, width: int, height: int) -> bytes:
    """The frame as packed RGB rows of the given size."""
    smaller = width < frame.width or height < frame.height
    way = Interpolation.AREA if smaller else Interpolation.BICUBIC
    silent_hd = frame.colorspace == UNSPECIFIED and frame.height >= 720  # HD that names no colours means BT.709
    colours = Colorspace.ITU709 if silent_hd else None
    shown = frame.reformat(width, height, "rgb24", src_colorspace=colours, interpolation=way)
    rows, step = memoryview(shown.planes[0]), shown.planes[0].line_size  # a row is padded to `step` bytes
    return b"".join(rows[y * step : y * step + width * 3] for y in range(height))


def read(job: dict[str, Any], file: BinaryIO) -> Iterator[tuple[dict[str, Any], bytes]]:
    """First what the clip is, then its frames. Raises Refused."""
    clip = Clip(file, job)
    times = clip.timeline()
    rate = clip.stream.average_rate
    yield {"duration": times.seconds(times.end), "fps": float(rate) if rate else 0.0}, b""
    budget = job["budget"] / max(clip.stream.codec_context.width * clip.stream.codec_context.height, 1)
    part = times.part(job["start"], job["end"])
    wanted = part.wanted(job["count"], budget) if job["count"] else part.stamps[:1]
    wanted = [stamp for stamp in wanted if not dropped(times.seconds(stamp), job)]
    if not wanted:
        raise Refused("dropped")
    aspect = clip.stream.sample_aspect_ratio
    for stamp, frame in clip.at(wanted, times):
        if dropped(times.seconds(stamp), job):  # it stands for one that can't be decoded
            continue
        full = square_size(frame, aspect)
        shrink = min(1.0, job["side"] / max(full), math.sqrt(job["area"] / len(wanted) / (full[0] * full[1])))
        width, height = (max(1, int(side * shrink)) for side in full)
        raw = pixels_of(frame, width, height)
        record = {"time": times.seconds(stamp), "width": width, "height": height, "full": full}
        yield {**record, "matrix": matrix_of(frame), "transfer": frame.color_trc, "bytes": len(raw)}, raw


def dropped(time: float, job: dict[str, Any]) -> bool:
    """Whether a frame that begins then is to be left out."""
    return any(abs(time - one) < SAME_MOMENT for one in job["dropped"])


def limit_resources(job: dict[str, Any]) -> None:
    """The last line of defence, should the parent's clock fail. Not on Windows."""
    try:
        import resource
    except ImportError:
        return
    wishes = {"RLIMIT_AS": job["memory"], "RLIMIT_CPU": job["cpu_seconds"], "RLIMIT_CORE": 0}
    wishes["RLIMIT_FSIZE"] = job.get("file_bytes", 0)
    for name, value in wishes.items():
        with suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (value, value))


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
