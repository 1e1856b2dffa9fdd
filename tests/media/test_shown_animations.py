"""What people see of pictures that move, of photos that browsers don't show, and of both together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovis_app.limits import Limits
from ovis_app.media import attach, attach_all, open_image, with_copies
from tests.media.made import corners, encoded, number_of, numbered
from tests.media.test_shown import copy_of, played

FILES = Path(__file__).parent / "files"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_shown_moving(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(numbered(number, 128, 96)) for number in range(0, 24, 3)]
    path = tmp_path / "a"
    path.write_bytes(encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100))
    media = attach(path, "a", Limits())
    copy = copy_of(media, tmp_path / "shown", Limits())
    assert media.kind == "video" and copy.suffix == ".mp4"
    seen = played(copy)[:8]
    assert [number_of(frame) for _, frame in seen] == list(range(0, 24, 3))
    assert [appears for appears, _ in seen] == pytest.approx([number / 10 for number in range(8)], abs=0.002)


def test_a_photo_that_browsers_do_not_show_is_shown_as_jpeg(tmp_path: Path) -> None:
    media = attach(FILES / "a.heic", "a.heic", Limits())
    copy = copy_of(media, tmp_path / "shown", Limits())
    with Image.open(copy) as seen:
        assert copy.suffix == ".jpg" and seen.size == open_image(media, Limits()).size


def test_beside_other_pictures_an_animation_is_shown_as_the_model_sees_it(tmp_path: Path) -> None:
    beside = tmp_path / "a.png"
    beside.write_bytes(encoded(corners(), "PNG"))
    media, refused = attach_all([(FILES / "blankfirst.gif", "b.gif"), (beside, "a.png")], Limits())
    assert not refused
    for one in with_copies(media, tmp_path / "shown", Limits()):
        assert one.shown is not None
        with Image.open(one.shown) as seen:
            looked_at, copied = (np.asarray(picture, int) for picture in (open_image(one, Limits()), seen))
            assert looked_at.shape == copied.shape and np.abs(looked_at - copied).mean() < 6
