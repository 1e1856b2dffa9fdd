"""Files of several streams, of uneven frames and of none but frames: what is taken is what a player shows."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.stream import Disposition

from ovis_app.conversation import Media
from ovis_app.limits import Limits
from ovis_app.media import Clip, sample_frames
from tests.media.made import clip, number_of, numbered

RAW = Path(__file__).parent / "files" / "raw.h264"


def sampled(path: Path, count: int, **limits: Any) -> Clip:
    return sample_frames(Media("video", path, path.name), count, Limits(**limits))


def streams(path: Path, *wanted: tuple[str, int, tuple[int, int], Disposition], step: int = 1) -> Path:
    """A file with a video stream for each codec, number of frames, size and disposition. All last as long."""
    longest = max(frames for _, frames, _, _ in wanted)
    with av.open(str(path), "w") as out:
        made = []
        for codec, _, (width, height), disposition in wanted:
            stream: Any = out.add_stream(codec, rate=10)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.codec_context.time_base = Fraction(1, 10)
            stream.disposition = disposition
            made.append(stream)
        for number in range(longest):
            for stream, (_, frames, size, _) in zip(made, wanted, strict=True):
                every = longest // frames
                if number % every == 0 and number // every < frames:
                    frame = av.VideoFrame.from_ndarray(numbered(number, *size), format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, 10)
                    out.mux(stream.encode(frame))
        for stream in made:
            out.mux(stream.encode(None))
    return path


PLAIN, DEFAULT, COVER = Disposition(0), Disposition.default, Disposition.attached_pic
SMALL, LARGE = (64, 48), (128, 96)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_a_still_thumbnail_before_the_clip_is_not_the_clip(tmp_path: Path, name: str) -> None:
    path = streams(tmp_path / name, ("mjpeg", 1, LARGE, DEFAULT), ("libx264", 30, SMALL, PLAIN))
    got = sampled(path, 4)
    assert len(got.frames) == 4 and {frame.size for frame in got.frames} == {SMALL}
    assert [number_of(frame) for frame in got.frames] == [round(time * 10) for time in got.times]


def test_a_cover_is_not_the_clip(tmp_path: Path) -> None:
    path = streams(tmp_path / "a.mp4", ("mjpeg", 1, LARGE, COVER), ("libx264", 30, SMALL, DEFAULT))
    got = sampled(path, 4)
    assert len(got.frames) == 4 and {frame.size for frame in got.frames} == {SMALL}


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        (("libx264", 30, LARGE, PLAIN), ("libx264", 30, SMALL, DEFAULT), SMALL),  # what its maker chose
        (("libx264", 30, SMALL, DEFAULT), ("libx264", 30, LARGE, DEFAULT), LARGE),  # a drone: proxy and clip
        (("libx264", 29, LARGE, DEFAULT), ("libx264", 30, SMALL, DEFAULT), LARGE),  # a frame more says nothing
        (("libx264", 3, LARGE, DEFAULT), ("libx264", 30, SMALL, DEFAULT), SMALL),  # a slide show beside it
    ],
)
def test_of_several_tracks_the_one_is_taken_that_players_show(
    tmp_path: Path, first: Any, second: Any, taken: tuple[int, int]
) -> None:
    got = sampled(streams(tmp_path / "a.mkv", first, second), 4)
    assert {frame.size for frame in got.frames} == {taken} and len(got.frames) == 4


# Milliseconds from frame to frame, as screen recorders and phones write them.
UNEVEN: dict[str, Sequence[int]] = {
    "still, then moving": [0, 9000, 9100, 9200, 9300, 9400, 9500, 9600],
    "moving, then still": [0, 100, 200, 300, 400, 500, 600, 9600],
    "still in the middle": [0, 100, 200, 300, 8000, 8100, 8200, 8300],
    "two bursts": [0, 40, 80, 120, 5000, 5040, 5080, 5120, 5160],
}


@pytest.mark.parametrize("times", UNEVEN.values(), ids=UNEVEN)
@pytest.mark.parametrize("count", [3, 7])
def test_as_many_frames_as_were_asked_for_where_the_clip_has_them(
    tmp_path: Path, times: Sequence[int], count: int
) -> None:
    got = sampled(clip(tmp_path / "vfr.mkv", map(numbered, range(len(times))), times=times), count)
    numbers = [number_of(frame) for frame in got.frames]
    assert len(numbers) == count and numbers == sorted(set(numbers))
    assert got.times == pytest.approx([times[number] / 1000 for number in numbers], abs=0.002)


def test_what_is_on_screen_longest_is_taken_once_and_its_neighbours_beside_it(tmp_path: Path) -> None:
    times = UNEVEN["still in the middle"]
    got = sampled(clip(tmp_path / "vfr.mkv", map(numbered, range(8)), times=times), 4)
    assert [number_of(frame) for frame in got.frames] == [3, 4, 5, 6]


BARE = [
    ("a.h264", "h264", "libx264", 10), ("a.hevc", "hevc", "libx265", 10), ("a.m2v", "mpeg2video", "mpeg2video", 25),
    ("a.m4v", "m4v", "mpeg4", 10), ("a.ivf", "ivf", "libvpx", 10), ("a.y4m", "yuv4mpegpipe", "rawvideo", 10),
    ("a.nut", "nut", "mpeg4", 10), ("a.mxf", "mxf", "mpeg2video", 25), ("a.wtv", "wtv", "mpeg2video", 25),
    ("a.rm", "rm", "rv20", 10), ("a.vob", "vob", "mpeg2video", 25), ("a.m2ts", "mpegts", "libx264", 10),
    ("a.flv", "flv", "flv", 10), ("a.wmv", "asf", "wmv2", 10), ("a.3gp", "3gp", "mpeg4", 10),
]  # fmt: skip


@pytest.mark.parametrize(("name", "form", "codec", "rate"), BARE)
def test_what_cameras_and_encoders_write_is_read_with_its_times(
    tmp_path: Path, name: str, form: str, codec: str, rate: int
) -> None:
    frames = [numbered(number, 128, 96) for number in range(30)]
    path = clip(tmp_path / name, frames, form=form, codec=codec, rate=rate)
    got = sampled(path.rename(tmp_path / "whatever"), 4)  # what it holds decides, not what it is called
    assert len(got.frames) == 4 and got.duration == pytest.approx(30 / rate, abs=0.05)
    for frame, time in zip(got.frames, got.times, strict=True):
        assert number_of(frame) == pytest.approx(time * rate, abs=1.1)


def test_frames_without_times_follow_each_other_at_the_rate_that_they_state() -> None:
    got = sampled(RAW, 4)
    assert got.duration == pytest.approx(2.0) and got.times == pytest.approx((0.2, 0.7, 1.2, 1.7))
    assert len({frame.tobytes() for frame in got.frames}) == 4 and len(sampled(RAW, 100).frames) == 20


def test_a_bare_stream_cut_short_gives_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "cut.h264"
    path.write_bytes(RAW.read_bytes()[:1500])
    got = sampled(path, 100)
    assert 1 <= len(got.frames) < 20 and got.times[0] == 0.0


def test_a_bare_stream_over_the_length_limit(refused: Any) -> None:
    assert "longer than 1.5 seconds" in refused(RAW, limits=Limits(video_seconds=1.5))
