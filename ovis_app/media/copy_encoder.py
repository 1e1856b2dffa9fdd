"""The child process that makes copies for people to see: a picture or a clip goes in, a file that a browser shows and
that holds nothing but pixels and sound comes out, in the folder that it was started in.

Runs as a script, in a process that can be killed, with limits on memory, time and what it writes. Copies are made by
the very code that a model's pixels come from. Records are as `video_decoder` has them, one for each file: how the copy
ends (".png"), or why there is none.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image

if TYPE_CHECKING:
    from ovis_app.media.video_decoder import Clip, Timeline

MOST_PIXELS = 8_300_000  # of a copied picture: a large screen's, so that there is something to zoom into
MOST_SIDE = 16_384  # pixels; browsers draw no longer ones
FEW_COLOURS = 256  # drawings and screens have no more, and stay as they are
SMALL_PNG = 300_000  # bytes
QUALITY = 90
CLIP_SIDE = 640  # pixels of an encoded clip's longer side
RATE = 30  # frames a second that its last frame is said to come at; the others say when
MILLISECOND = Fraction(1, 1000)
# How many frames a clip is encoded from, and for which share of the budget and of the time: where the first try takes
# too long the next does with fewer, so that a copy lasts from a clip's beginning to its end.
TRIES = ((300, 0.5), (60, 0.3), (16, 0.2))
# What browsers play, by the decoder's name: the container, and the sound that may stand in it.
PLAYABLE = {
    "h264": "mp4",
    "av1": "mp4",
    "libdav1d": "mp4",
    "libaom-av1": "mp4",
    "vp8": "webm",
    "libvpx": "webm",
    "vp9": "webm",
    "libvpx-vp9": "webm",
}
SOUND = {"mp4": ("aac", "mp3", "mp3float", "opus", "libopus"), "webm": ("opus", "libopus", "vorbis", "libvorbis")}
SPS, PPS = 7, 8  # kinds of H.264's units: sets of parameters
HIGH = (100, 110, 122, 144)  # profiles whose header says how deep colours are
LONGEST_HEADER = 64  # bytes of a sound's, but for Vorbis
# What of a stream's units is pixels and how to read them. Others hold what cameras add to them: places, times, names.
PIXELS_ALONE = {"h264": "filter_units=pass_types=1-5|7-11", "av1": "filter_units=remove_types=5"}


class NotCopied(Exception):
    """The streams can't be taken over as they are."""


def shrunk(picture: Image.Image) -> Image.Image:
    """A copy within the limits that remembers nothing but its pixels."""
    shrink = min(1.0, math.sqrt(MOST_PIXELS / (picture.width * picture.height)), MOST_SIDE / max(picture.size))
    if shrink < 1:
        size = (max(1, int(side * shrink)) for side in picture.size)
        picture = picture.resize((next(size), next(size)), Image.Resampling.LANCZOS, reducing_gap=3.0)
    picture.info = {}  # a comment would be written again
    return picture


def packed(picture: Image.Image, *, lossless: bool) -> tuple[str, bytes]:
    """The picture as a file and its suffix: a PNG where nothing is to be lost and that is small, else a JPEG."""
    jpeg, png = BytesIO(), BytesIO()
    picture.save(jpeg, "JPEG", quality=QUALITY, subsampling=0 if lossless else 2)  # thin lines would lose their colour
    if lossless and (picture.width * picture.height < 1_000_000 or picture.getcolors(FEW_COLOURS)):
        picture.save(png, "PNG")
        if png.tell() <= max(SMALL_PNG, jpeg.tell()):
            return ".png", png.getvalue()
    return ".jpg", jpeg.getvalue()


def copy_pictures(job: dict[str, Any], files: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A record for each picture, as it was copied."""
    from ovis_app.conversation import Media
    from ovis_app.limits import Limits
    from ovis_app.media.file_types import HEAD, kind_of
    from ovis_app.media.image_decoder import start_clock
    from ovis_app.media.images import open_image

    limits = Limits(**job["limits"])
    for file in files:
        media = Media(**file["media"] | {"path": Path(file["media"]["path"])})
        start_clock(limits.picture_seconds)
        try:
            with media.path.open("rb") as opened:
                lossless = not {"JPEG", "HEIF", "AVIF", "WEBP"} & set(kind_of(opened.read(HEAD)).formats)
            suffix, data = packed(shrunk(open_image(media, limits)), lossless=lossless)
            Path(file["out"]).write_bytes(data)
            yield {"suffix": suffix}
        except Exception as error:  # the edge of the process: whatever it is, people see a placeholder
            yield {"failed": type(error).__name__}


def playable(clip: Clip, times: Timeline) -> str:
    """The container in which browsers play the clip's own frames. Raises NotCopied."""
    from ovis_app.media.video_decoder import matrix_of

    form = PLAYABLE.get(clip.stream.codec_context.name, "")
    first = next(clip.at(times.stamps[:1], times), None) if form and not clip.numbered else None
    if first is None or first[1].format.name not in ("yuv420p", "yuvj420p"):
        raise NotCopied
    if form == "webm" and matrix_of(first[1]) != [1, 0, 0, 1]:
        raise NotCopied  # it can't say how a phone was held
    return form


def taken_over(clip: Clip, times: Timeline, out: str, deadline: float) -> str:
    """Writes the clip's own frames and sound into a new file without anything else, where browsers play them. Raises
    NotCopied."""
    import av
    from av.stream import Discard

    form = playable(clip, times)
    clip.rewind()
    stream, codec = clip.stream, clip.stream.codec_context.name
    tracks = (one for one in clip.container.streams.audio if one.codec_context is not None)
    sound = next((one for one in tracks if one.codec_context.name in SOUND[form] and _is_bare(one)), None)
    if sound is not None:
        sound.discard = Discard.default
    packets = list(_packets(clip, deadline, stream, *([sound] if sound else [])))
    decoding = _decoding_times([packet.pts for packet, mine in packets if mine])
    with av.open(out, "w", format=form, options={"movflags": "faststart"} if form == "mp4" else {}) as written:
        seen = written.add_stream_from_template(stream, opaque=True)
        heard = written.add_stream_from_template(sound, opaque=True) if sound else None
        if heard is not None and "vorbis" in heard.codec_context.name:
            heard.codec_context.extradata = without_comments(bytes(heard.codec_context.extradata or b""))
        units = PIXELS_ALONE.get("av1" if "av1" in codec else codec)
        if form == "webm":
            seen.codec_context.extradata = None  # VP8 and VP9 need none
        elif codec == "h264":
            seen.codec_context.extradata = parameters_alone(bytes(stream.codec_context.extradata or b""))
        kept = av.BitStreamFilterContext(units, stream) if units else None
        for packet, mine in packets:
            base = packet.time_base
            late = round(times.start * times.base / base)
            if mine:
                packet.dts = next(decoding)
            for one in kept.filter(packet) if kept and mine else [packet]:
                if one.pts is None or one.dts is None:
                    raise NotCopied
                one.stream, one.time_base = seen if mine else heard, base
                one.pts, one.dts = one.pts - late, one.dts - late
                if mine or one.pts >= 0:
                    written.mux(one)
    return f".{form}"


def parameters_alone(header: bytes) -> bytes:
    """H.264's header as MP4 has it, of nothing but parameter sets: its two lists may hold whatever units people put
    there, and bytes may follow. Other headers as they are, of which the writer of MP4 takes parameter sets alone.
    Raises NotCopied. Layout: ISO/IEC 14496-15, 5.3.3.1."""
    if header[:1] != b"\1":
        return header
    at, lists = 5, b""
    for kind, mask in ((SPS, 31), (PPS, 255)):
        units = []
        for _ in range(header[at] & mask if at < len(header) else 0):
            begins = at + 3
            size = int.from_bytes(header[at + 1 : begins], "big")
            units.append(header[at + 1 : begins + size])
            at = begins + size - 1
        at += 1
        kept = [unit for unit in units if len(unit) > 2 and unit[2] & 31 == kind]
        lists += bytes([len(kept) | ~mask & 0xE0]) + b"".join(kept)
    more = header[at : at + 3] + b"\0" if header[1] in HIGH and len(header) >= at + 4 else b""
    if at > len(header):
        raise NotCopied
    return header[:5] + lists + more


def _is_bare(sound: Any) -> bool:
    """Whether the header of a sound is no longer than what its decoder needs; of Vorbis's what people wrote is taken
    out."""
    return "vorbis" in sound.codec_context.name or len(sound.codec_context.extradata or b"") <= LONGEST_HEADER


def without_comments(headers: bytes) -> bytes:
    """Vorbis's headers, with as many spaces in place of what people wrote, which stands between two that are needed.
    Raises NotCopied. Layout: xiph.org/vorbis/doc/v-comment.html."""
    begins, ends = headers.find(b"\x03vorbis"), headers.rfind(b"\x05vorbis")
    spaces = ends - begins - 16  # beside a name, two lengths and the last bit
    if begins < 0 or spaces < 0:
        raise NotCopied
    blank = b"\x03vorbis" + spaces.to_bytes(4, "little") + b" " * spaces + bytes(4) + b"\x01"
    return headers[:begins] + blank + headers[ends:]


def _packets(clip: Clip, deadline: float, *streams: Any) -> Iterator[tuple[Any, bool]]:
    """The streams' packets, and whether each is of the clip's own frames. Raises NotCopied at the deadline."""
    for packet in clip.container.demux(*streams):
        if packet.size and not packet.is_corrupt:
            yield packet, packet.stream.index == clip.stream.index
        if time.monotonic() > deadline:
            raise NotCopied


def _decoding_times(stamps: list[int | None]) -> Iterator[int]:
    """When each frame is decoded, in the order of the file: some containers don't say, and players need it."""
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < len(stamps) or len(set(known)) < len(known):
        raise NotCopied
    ordered = sorted(known)
    early = max((a - b for a, b in zip(ordered, known, strict=True)), default=0)
    return iter([stamp - early for stamp in ordered])


def encoded(pictures: Iterable[tuple[Image.Image, float]], duration: float, out: str) -> None:
    """Writes pictures and the seconds at which they appear as a small clip without sound, which lasts `duration`."""
    import av

    with av.open(out, "w", format="mp4", options={"movflags": "faststart"}) as written:
        frames: Any = av.VideoFrame
        stream: Any = None
        last: Any = None
        appeared = -1
        for picture, appears in pictures:
            if stream is None:
                stream = written.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "25"})
                stream.width, stream.height = (max(2, side // 2 * 2) for side in picture.size)
                stream.pix_fmt, stream.codec_context.time_base = "yuv420p", MILLISECOND
                stream.codec_context.max_b_frames = 0
            size = (stream.width, stream.height)
            last = frames.from_image(picture if picture.size == size else picture.resize(size))
            appeared = (
                max(round(appears * 1000), appeared + 1) if appeared >= 0 else 0
            )  # nothing stands before the first
            last.pts, last.time_base = appeared, MILLISECOND
            written.mux(stream.encode(last))
        if stream is None:
            raise NotCopied
        until = round((duration - 1 / RATE) * 1000)
        if until > appeared:
            last.pts = until  # so that the last picture stands until the end
            written.mux(stream.encode(last))
        written.mux(stream.encode(None))


def encode_clip(clip: Clip, times: Timeline, job: dict[str, Any]) -> str:
    """Writes the clip as a small one of the same length. Raises NotCopied."""
    area = max(clip.stream.codec_context.width * clip.stream.codec_context.height, 1)
    begun, allowed = time.monotonic(), 0.0
    for number, (most, share) in enumerate(TRIES, start=1):
        allowed += share  # what an earlier try didn't need is left to this one
        budget = job["budget"] * share / area
        wanted = times.wanted(most, budget)
        if times.cost(wanted) > budget and number < len(TRIES):
            continue
        deadline = begun + job["within"] * allowed
        with suppress(TimeoutError):
            encoded(_pictures(clip, times, wanted, deadline), times.seconds(times.end), job["out"])
            return ".mp4"
    raise NotCopied


def _pictures(clip: Clip, times: Timeline, wanted: list[int], deadline: float) -> Iterator[tuple[Image.Image, float]]:
    """Upright small pictures and when they appear. Raises TimeoutError at the deadline."""
    from ovis_app.media.tone_mapping import toned
    from ovis_app.media.video import upright
    from ovis_app.media.video_decoder import matrix_of, pixels_of, square_size

    for stamp, frame in clip.at(wanted, times):
        full = square_size(frame, clip.stream.sample_aspect_ratio)
        size = [max(1, round(side * min(1.0, CLIP_SIDE / max(full)))) for side in full]
        picture = Image.frombytes("RGB", (size[0], size[1]), pixels_of(frame, *size))
        yield upright(toned(picture, frame.color_trc), tuple(matrix_of(frame))), times.seconds(stamp)
        if time.monotonic() > deadline:
            raise TimeoutError


def copy_clip(job: dict[str, Any], file: BinaryIO) -> dict[str, Any]:
    """The record of one clip, as it was copied: its own frames where that will do, else encoded."""
    import av

    from ovis_app.media.video_decoder import Clip

    av.logging.set_level(None)
    try:
        clip = Clip(file, job)
        times = clip.timeline()
        if job["take_over"]:
            with suppress(NotCopied, av.FFmpegError, ValueError, TypeError):
                return {"suffix": taken_over(clip, times, job["out"], time.monotonic() + job["within"])}
        return {"suffix": encode_clip(clip, times, job)}
    except Exception as error:  # the edge of the process, as above
        return {"failed": type(error).__name__}


def main() -> None:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each thread that NumPy prepares would take of the memory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, which isn't in the folder it runs in
    from ovis_app.media.video_decoder import limit_resources, send

    job = json.loads(sys.argv[1])
    limit_resources(job)
    if job["kind"] == "video":
        send(sys.stdout.buffer, copy_clip(job, sys.stdin.buffer))
    else:
        for record in copy_pictures(job, json.load(sys.stdin)):
            send(sys.stdout.buffer, record)
    send(sys.stdout.buffer, {"end": True})


if __name__ == "__main__":
    main()
