"""Frames of a long clip: `python -m benchmarks.video`.

12 frames of a 10-minute 1080p clip that is made on the fly, as the app samples them, beside twelve calls of moviepy's
`get_frame` in the middles of twelve equal parts. Then what a person waits for: the first frame once the clip is
attached, and the first token of a second question about the same clip.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from benchmarks.browser import CHROMIUM, MISSING, attach, browser
from benchmarks.report import Headline, arguments, finish, table
from benchmarks.server import app
from benchmarks.shapes import checkpoint
from benchmarks.talk import backend, first_token
from ovis_app import media
from ovis_app.conversation import Conversation, Detail, Media, Message
from ovis_app.limits import Limits
from ovis_app.media import sample_frames, thumbnail

FRAMES, FPS, PIECE = 12, 30, 10  # frames wanted; frames per second; seconds that are encoded once and then repeated
WIDTH, HEIGHT = 1920, 1080
SHOWN = "document.querySelector('#conversation .user-row video')?.readyState >= 2"
BITS = 4_000_000  # per second, about what a camera or a site gives 1080p


def make_clip(path: Path, minutes: float) -> Media:
    """An H.264 clip of that length: ten seconds of moving blocks with grain at `BITS` per second, packets repeated with
    later times. Each piece begins with a keyframe, about as often as x264 puts them by itself (250 frames)."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "g": str(FPS * PIECE)})
        stream.bit_rate = BITS
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        packets = _packets(stream.codec_context)
        base = stream.codec_context.time_base or Fraction(1, FPS)
        length = round(PIECE / base)
        for piece in range(round(minutes * 60 / PIECE)):
            for data, pts, dts, key in packets:
                packet = av.Packet(data)
                packet.stream, packet.time_base, packet.is_keyframe = stream, base, key
                packet.pts, packet.dts = pts + piece * length, dts + piece * length
                out.mux(packet)
    return Media("video", path, path.name, Detail(max_pixels=448 * 448, frames=FRAMES))


def _packets(context: VideoCodecContext) -> list[tuple[bytes, int, int, bool]]:
    """One piece, encoded: each packet's bytes, both its times and whether it is a keyframe."""
    random = np.random.default_rng(0)
    blocks = random.integers(40, 200, (HEIGHT // 40, WIDTH // 40, 3), dtype=np.uint8)
    ground = blocks.repeat(40, axis=0).repeat(40, axis=1)
    grain = random.integers(0, 24, (4, HEIGHT, WIDTH, 1), dtype=np.uint8)
    found = []
    for number in range(FPS * PIECE + 1):
        frame = None
        if number < FPS * PIECE:
            picture = np.roll(ground, number * 4, axis=1) + grain[number % 4]
            picture[300:600, 3 * number : 3 * number + 300] = (200, 40, 40)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
        for packet in context.encode(frame):
            assert packet.pts is not None and packet.dts is not None
            found.append((bytes(packet), packet.pts, packet.dts, packet.is_keyframe))
    return found


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def with_moviepy(path: Path, times: tuple[float, ...]) -> None:
    """The original way: one `get_frame` a frame."""
    from moviepy import VideoFileClip

    with VideoFileClip(str(path), audio=False) as clip:
        for at in times:
            clip.get_frame(at)


def turns_of(clip: Media, folder: Path) -> tuple[float, float]:
    """Seconds to the first token of the first and of the second question about the clip, to a small random model."""
    asked = Conversation((Message("user", "What happens?", (clip,)),))
    again = asked.add(Message("assistant", "A square moves.", finish="end")).add(Message("user", "Which way?"))
    with backend(checkpoint("tiny", folder / "random-tiny"), device="cpu") as ours:
        return first_token(ours, asked), first_token(ours, again)


def in_browser(clip: Path, repeats: int) -> list[float]:
    """Seconds from Enter to the clip's first frame in the conversation, once the file is uploaded."""
    found = []
    with app("--backend", "fake") as (url, _):
        for _ in range(repeats):
            with browser(url) as one:
                attach(one, [clip])
                one.fill("#box textarea", "What happens?")
                start = time.perf_counter()
                one.press("#box textarea", "Enter")
                one.wait_for_function(SHOWN)
                found.append(time.perf_counter() - start)
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the clip")
    options = parser.parse_args()
    limits = Limits()
    with tempfile.TemporaryDirectory() as made:
        clip = make_clip(Path(made) / "ten-minutes.mp4", options.minutes)
        size = clip.path.stat().st_size
        times = sample_frames(clip, FRAMES, limits).times
        middles = tuple((part + 0.5) * options.minutes * 60 / FRAMES for part in range(FRAMES))
        with_moviepy(clip.path, middles[:1])  # its import isn't measured
        ours, other, checked, shown, opened = [], [], [], [], []
        for _ in range(options.repeats):
            ours.append(seconds(lambda: sample_frames(clip, FRAMES, limits)))
            other.append(seconds(lambda: with_moviepy(clip.path, middles)))
            checked.append(seconds(lambda: media.attach(clip.path, clip.name, limits)))
            shown.append(seconds(lambda: thumbnail(clip, limits)))
            opened.append(seconds(lambda: with_moviepy(clip.path, (0.0,))))
        first, second = turns_of(clip, Path(made))
        seen = in_browser(clip.path, options.repeats) if CHROMIUM.exists() else []
    median = statistics.median
    print(f"{options.minutes:g} minutes of {WIDTH} x {HEIGHT} H.264 at {FPS} frames/s, {size / 1e6:.0f} MB\n")
    waits = [
        ("attaching: the clip checked, by decoding its first frame", median(checked)),
        ("its first frame as a picture", median(shown)),
        ("first token of the first question (tiny model, CPU)", first),
        ("first token of the second question", second),
    ]
    if seen:
        waits.insert(2, ("from Enter to the first frame on the page, in Chromium", median(seen)))
    print(table(("what", "s"), waits))
    headline = [
        Headline("video_frames", median(ours), median(other), "s", goal=3.0),
        Headline("video_first_frame", median(shown), median(opened), "s"),
        Headline("video_second_turn", second, first, "s"),
    ]
    details = {"minutes": options.minutes, "bytes": size, "waits": dict(waits), "times": times}
    finish(options, "video", headline, details=details, unmeasured=[] if seen else [MISSING])


if __name__ == "__main__":
    main()
