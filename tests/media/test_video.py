"""Clips as a user would see them: the frames of the right moments, upright and in shape, or a sentence."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import attach, probe, sample_frames, thumbnail
from tests.media.made import CORNERS, clip, corner_names, corners, encoded, number_of, numbered, rough, sound

UPRIGHT = list(CORNERS)


@pytest.fixture(scope="module")
def three_seconds(tmp_path_factory):
    """30 frames at 10 a second, a keyframe each 12, with B-frames."""
    return clip(tmp_path_factory.mktemp("clips") / "three.mp4", map(numbered, range(30)))


def sampled(path, count, **limits):
    return sample_frames(Media("video", path, path.name), count, Limits(**limits))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "libx264"),
        ("a.mkv", "ffv1"),
        ("a.webm", "libvpx"),
        ("a.avi", "mpeg4"),
        ("b.avi", "mjpeg"),
        ("a.ts", "mpeg2video"),
        ("a.mp4", "libx265"),
    ],
)
def test_every_usual_container_gives_the_frames_of_its_times(tmp_path, name, codec):
    rate = 25 if codec == "mpeg2video" else 10
    path = clip(tmp_path / name, map(numbered, range(30)), codec=codec, rate=rate)
    assert attach(path, path.name, Limits()).kind == "video"
    for count in (4, 100):
        got = sampled(path, count)
        assert len(got.frames) == len(got.times) == min(count, 30)
        assert got.duration == pytest.approx(30 / rate, abs=0.01)
        for frame, time in zip(got.frames, got.times, strict=True):
            assert number_of(frame) == round(time * rate), (count, time)


@pytest.mark.parametrize("count", [1, 3, 8, 29])
def test_frames_are_evenly_spread_inside_the_clip(three_seconds, count):
    got = sampled(three_seconds, count)
    part = got.duration / count
    assert len(got.frames) == count and list(got.times) == sorted(set(got.times))
    for index, time in enumerate(got.times):
        assert abs(time - (index + 0.5) * part) <= max(0.1, 0.1 * part) + 1e-6


def test_asking_for_more_frames_than_there_are_gives_each_once(three_seconds):
    assert [number_of(frame) for frame in sampled(three_seconds, 500).frames] == list(range(30))


def test_one_frame(tmp_path):
    got = sampled(clip(tmp_path / "one.mp4", [numbered(5)]), 8)
    assert [number_of(frame) for frame in got.frames] == [5] and got.times == (0.0,)


def test_uneven_frame_times_are_kept(tmp_path):
    times = [0, 20, 40, 60, 80, 1000, 2000, 3000, 4000]
    got = sampled(clip(tmp_path / "vfr.mkv", map(numbered, range(9)), times=times), 4)
    assert number_of(got.frames[0]) == 4  # on screen from 0.08 to 1 s
    assert got.times == pytest.approx([times[number_of(frame)] / 1000 for frame in got.frames], abs=0.002)


def test_a_clip_that_starts_late_counts_from_its_first_frame(tmp_path):
    times = [10_000 + 100 * i for i in range(10)]
    got = sampled(clip(tmp_path / "late.mkv", map(numbered, range(10)), times=times), 10)
    assert got.times == pytest.approx([i / 10 for i in range(10)], abs=0.002)
    assert got.duration == pytest.approx(1.0, abs=0.11)


def test_long_clips_give_keyframes_when_decoding_all_would_cost_too_much(tmp_path):
    path = clip(tmp_path / "long.mp4", (numbered(i) for i in range(200)), gop=20)
    spread = sampled(path, 12, decode_pixels=20 * 64 * 48)
    assert 3 <= len(spread.frames) <= 12
    assert all(round(time * 10) % 20 == 0 for time in spread.times)
    for frame, time in zip(spread.frames, spread.times, strict=True):
        assert number_of(frame) == round(time * 10) % 34


def test_a_single_keyframe_is_read_straight_through(tmp_path):
    path = clip(tmp_path / "single.mp4", (numbered(i) for i in range(120)), gop=1000)
    got = sampled(path, 6, decode_pixels=1)
    assert [number_of(frame) for frame in got.frames] == [round(time * 10) % 34 for time in got.times]
    assert len(got.frames) == 6


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_phone_clips_stand_upright(tmp_path, degrees, mirrored):
    upright = corners(64, 48)
    stored = upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else upright
    stored = stored.rotate(-degrees, expand=True)
    path = clip(tmp_path / "phone.mp4", [np.asarray(stored)] * 3, rotation=degrees, mirrored=mirrored)
    got = sampled(path, 2)
    assert [frame.size for frame in got.frames] == [(64, 48)] * 2
    assert corner_names(got.frames[0]) == UPRIGHT
    info = probe(Media("video", path), Limits())
    assert (info.width, info.height) == (64, 48)


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(2, 1), (128, 48)), (Fraction(1, 2), (64, 96))])
def test_pixels_become_square(tmp_path, aspect, size):
    path = clip(tmp_path / "tv.mp4", [np.asarray(corners())] * 3, aspect=aspect)
    frame = sampled(path, 1).frames[0]
    assert frame.size == size and corner_names(frame) == UPRIGHT


def test_large_frames_are_scaled_down_to_the_limits(tmp_path):
    path = clip(tmp_path / "wide.mp4", [np.asarray(corners(640, 320))] * 4)
    frame = sampled(path, 1, frame_side=160).frames[0]
    assert frame.size == (160, 80) and corner_names(frame) == UPRIGHT
    frames = sampled(path, 4, clip_pixels=4 * 80 * 40).frames
    assert sum(frame.width * frame.height for frame in frames) <= 4 * 80 * 40


def test_probe_and_thumbnail(three_seconds):
    media = Media("video", three_seconds, "three.mp4")
    info = probe(media, Limits())
    assert (info.width, info.height, info.fps) == (64, 48, 10.0) and info.duration == pytest.approx(3.0)
    assert thumbnail(media, Limits(), 32).size == (32, 24)


def test_high_dynamic_range_is_brought_down():
    from ovis_app.media.tone_mapping import HLG, PQ, toned

    for transfer, white in ((PQ, 0.58), (HLG, 0.75)):
        picture = Image.new("RGB", (2, 2), (round(255 * white),) * 3)
        assert min(toned(picture, transfer).getpixel((0, 0))) > 225
        assert max(toned(Image.new("RGB", (2, 2)), transfer).getpixel((0, 0))) <= 2
    assert toned(picture, 1) is picture


def test_sound_without_pictures(tmp_path, refused):
    assert "sound" in refused(sound(tmp_path / "song.mp4"))


def test_a_clip_over_the_length_limit(three_seconds, refused):
    text = refused(three_seconds, limits=Limits(video_seconds=1.5))
    assert "longer than 1.5 seconds" in text and "trim" in text


def test_frames_over_the_pixel_limit(three_seconds, refused):
    assert "lower resolution" in refused(three_seconds, limits=Limits(video_pixels=1000))


def test_a_clip_over_the_byte_limit(three_seconds, refused):
    assert "MB" in refused(three_seconds, limits=Limits(video_bytes=1000))


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.webm", "cut.avi"])
def test_a_clip_cut_short_gives_what_is_left_or_a_sentence(tmp_path, refused, name):
    codec = {"webm": "libvpx", "avi": "mpeg4"}.get(name.rsplit(".", 1)[1], "libx264")
    path = clip(tmp_path / name, map(rough, range(30)), codec=codec, gop=5)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    if name == "cut.mp4":  # its table of contents was at the end
        assert "damaged" in refused(path)
        return
    got = sampled(path, 100)
    assert 1 <= len(got.frames) < 30
    assert [number_of(frame) for frame in got.frames] == list(range(len(got.frames)))


def test_a_clip_without_frames(tmp_path, refused):
    path = clip(tmp_path / "full.mkv", map(numbered, range(3)), codec="ffv1")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\x1f\x43\xb6\x75")])  # up to the first cluster of frames
    assert "save or download it again" in refused(path)


def test_bit_rot_in_the_middle(tmp_path):
    rng = np.random.default_rng(7)
    noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(30)]
    path = clip(tmp_path / "rot.mkv", noise, gop=5)
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 3, 2 * len(data) // 3, 41):
        data[at] = int(rng.integers(0, 256))
    path.write_bytes(bytes(data))
    got = sampled(path, 8)
    assert 1 <= len(got.frames) <= 8 and list(got.times) == sorted(set(got.times))


def test_text_named_like_a_clip(write, refused):
    assert "text" in refused(write("text.mp4", b"just text\n" * 50))
    assert "damaged" in refused(write("head.mp4", b"\0\0\0\x18ftypisom" + bytes(300)))
    assert "empty" in refused(write("zero.mp4", b""))


def test_titles_in_an_old_encoding_are_no_reason_to_refuse(tmp_path):
    path = clip(tmp_path / "old.mkv", map(numbered, range(3)), title="Cafe!")
    path.write_bytes(path.read_bytes().replace(b"Cafe!", b"Caf\xe9!"))
    assert attach(path, "old.mkv", Limits()).kind == "video"


def test_an_unknown_codec_names_the_way_out(tmp_path, refused):
    path = clip(tmp_path / "odd.mp4", map(numbered, range(3)))
    data = path.read_bytes()
    assert b"avc1" in data
    path.write_bytes(data[:40] + data[40:].replace(b"avc1", b"zzz9"))
    assert "H.264" in refused(path)


def test_a_picture_is_no_clip(write):
    path = write("a.png", encoded(corners(), "PNG"))
    with pytest.raises(MediaError, match="picture"):
        sample_frames(Media("video", path, "a.png"), 4, Limits())


def test_a_clip_that_went_away(three_seconds, tmp_path):
    with pytest.raises(MediaError, match=r"^“a.mp4” is no longer here"):
        sample_frames(Media("video", tmp_path / "b.mp4", "a.mp4"), 4, Limits())


def test_names_that_look_like_addresses_or_patterns(tmp_path, three_seconds):
    for name in ("-i.mp4", "concat:x|y.mp4", "new\nline %03d $(id).mp4"):
        path = tmp_path / name
        path.write_bytes(three_seconds.read_bytes())
        assert len(sampled(path, 3).frames) == 3


def test_count_must_be_positive(three_seconds):
    with pytest.raises(ValueError, match="at least 1"):
        sample_frames(attach(three_seconds, "a.mp4", Limits()), 0, Limits())
