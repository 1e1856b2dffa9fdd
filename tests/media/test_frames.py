"""Pictures that are a clip's frames, as a clip that goes the way of every other."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import attach, clip_of_frames, sample_frames
from ovis_app.media.incoming_file import NoRoom
from tests.media.made import corners, encoded


def jpegs(folder: Path, count: int, size: tuple[int, int] = (64, 48), mode: str = "RGB") -> list[Path]:
    paths = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        level = 255 * number // max(count - 1, 1)
        Image.new(mode, size, level if mode == "L" else (level, level, level)).save(path, "JPEG", quality=95)
        paths.append(path)
    return paths


@pytest.mark.parametrize(("count", "mode"), [(1, "RGB"), (7, "RGB"), (3, "L")])
def test_each_picture_is_a_frame(tmp_path: Path, count: int, mode: str) -> None:
    pictures = jpegs(tmp_path, count, mode=mode)
    clip_of_frames(pictures, tmp_path / "clip", "video 1", Limits())
    media = attach(tmp_path / "clip", "video 1", Limits())
    assert media == Media("video", tmp_path / "clip", "video 1")
    seen = sample_frames(media, count, Limits())
    assert len(seen.frames) == count and {frame.size for frame in seen.frames} == {(64, 48)}
    for path, frame in zip(pictures, seen.frames, strict=True):
        wanted = np.asarray(Image.open(path).convert("RGB"), dtype=float)
        assert np.abs(np.asarray(frame, dtype=float) - wanted).mean() < 4


def test_what_is_no_row_of_frames_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.jpg"
    Image.new("RGB", (32, 32)).save(other)
    png = tmp_path / "picture.png"
    png.write_bytes(encoded(corners(), "PNG"))
    good = jpegs(tmp_path, 2)
    cut = tmp_path / "cut.jpg"
    data = io.BytesIO()
    Image.effect_noise((200, 200), 50).convert("RGB").save(data, "JPEG")
    cut.write_bytes(data.getvalue()[: len(data.getvalue()) // 2])
    for extra, words in ((other, "sizes"), (png, "JPEG"), (cut, "damaged")):
        with pytest.raises(MediaError, match=words):
            clip_of_frames([*good, extra], tmp_path / "clip", "video 1", Limits())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device there")
@pytest.mark.parametrize("count", [1, 500])
def test_a_full_disk_is_no_fault_of_the_frames(tmp_path: Path, count: int) -> None:
    with pytest.raises(NoRoom, match="no room"):
        clip_of_frames(jpegs(tmp_path, count), Path("/dev/full"), "video 1", Limits())
