"""A part of a clip, and a part without some of its frames: what the model gets of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from ovis_app.conversation import Excerpt, Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import sample_frames
from ovis_app.media.video import Clip
from tests.media.made import clip, number_of, numbered


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Thirty frames at ten a second, which carry their numbers: as a film, and as a picture that moves."""
    folder = tmp_path_factory.mktemp("clips")
    frames = [Image.fromarray(numbered(n)) for n in range(30)]
    frames[0].save(folder / "a.webp", save_all=True, append_images=frames[1:], duration=100, lossless=True)
    return {"mp4": clip(folder / "a.mp4", map(numbered, range(30))), "webp": folder / "a.webp"}


def sampled(path: Path, count: int, excerpt: Excerpt) -> Clip:
    pictures = 30 if path.suffix == ".webp" else 1
    return sample_frames(Media("video", path, path.name, pictures=pictures), count, Limits(), excerpt=excerpt)


@pytest.mark.parametrize("kind", ["mp4", "webp"])
@pytest.mark.parametrize(
    ("excerpt", "count", "numbers"),
    [
        (Excerpt(1.0, 2.0), 5, [11, 13, 15, 17, 19]),
        (Excerpt(1.0, 2.0), 50, list(range(10, 20))),
        (Excerpt(1.05, 1.15), 50, [10, 11]),  # each is on screen for a half of it
        (Excerpt(2.55), 4, [26, 27, 28, 29]),
        (Excerpt(2.0, 99.0), 50, list(range(20, 30))),
        (Excerpt(0.0, None, (0.0, 0.2)), 50, [1, *range(3, 30)]),
        (Excerpt(1.0, 2.0, (1.3, 1.7, 9.0)), 5, [11, 15, 19]),
    ],
)
def test_the_frames_are_those_of_the_part_and_keep_their_times(
    clips: dict[str, Path], kind: str, excerpt: Excerpt, count: int, numbers: list[int]
) -> None:
    found = sampled(clips[kind], count, excerpt)
    assert [number_of(frame) for frame in found.frames] == numbers
    assert found.times == pytest.approx([number / 10 for number in numbers])
    assert found.duration == pytest.approx(3.0)


@pytest.mark.parametrize("kind", ["mp4", "webp"])
@pytest.mark.parametrize(
    ("excerpt", "words"),
    [(Excerpt(3.5), "is over before"), (Excerpt(1.0, 1.1, (1.0,)), "none of its frames left")],
)
def test_a_part_without_frames_is_refused_in_a_sentence(
    clips: dict[str, Path], kind: str, excerpt: Excerpt, words: str
) -> None:
    with pytest.raises(MediaError, match=words):
        sampled(clips[kind], 4, excerpt)
