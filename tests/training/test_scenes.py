"""The drawn world keeps its own rules, and boxes agree with the drawn pixels."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from ovis_app.training.mini.world.scenes import (
    COLORS,
    HEADINGS,
    KINDS,
    Scene,
    Shape,
    draw,
    random_clip,
    random_page,
    random_scene,
    random_word,
)


def scenes(number: int = 200) -> list[Scene]:
    rng = random.Random("test")
    return [random_scene(rng) for _ in range(number)]


def test_shapes_lie_in_their_cells_and_no_two_are_alike() -> None:
    for scene in scenes():
        assert 1 <= len(scene.shapes) <= 4
        assert len({(s.kind, s.color) for s in scene.shapes}) == len(scene.shapes)
        assert [s.cell for s in scene.shapes] == sorted({s.cell for s in scene.shapes})
        for shape in scene.shapes:
            left, top, right, bottom = scene.relative_box(shape)
            column, row = shape.cell % 3, shape.cell // 3
            assert column / 3 <= left < right <= (column + 1) / 3
            assert row / 3 <= top < bottom <= (row + 1) / 3


def test_pictures_have_the_sizes_and_backgrounds_of_the_domain() -> None:
    for scene in scenes():
        image = draw(scene)
        assert image.size == (scene.width, scene.height)
        assert 128 <= min(image.size) <= max(image.size) <= 256
        assert max(image.size) / min(image.size) <= 2
        assert min(scene.background) >= 150


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [0.0, 0.5, 1.0])
def test_boxes_agree_with_the_drawn_pixels(kind: str, form: float) -> None:
    shape = Shape(kind, "blue", 4, 101.3, 97.8, 26.4, form)
    scene = Scene(200, 200, (240, 240, 240), (shape,), smooth=1)
    blue = (np.asarray(draw(scene)) == COLORS["blue"]).all(axis=2)
    rows, columns = np.flatnonzero(blue.any(axis=1)), np.flatnonzero(blue.any(axis=0))
    drawn = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert np.abs(np.array(drawn) - np.array(shape.box())).max() <= 1.5


def test_a_word_lies_wholly_inside_its_picture() -> None:
    rng = random.Random("words")
    for _ in range(60):
        scene = random_word(rng)
        assert scene.word is not None and 1 <= len(scene.word.text) <= 6
        dark = (np.asarray(draw(scene)).astype(int) != scene.background).any(axis=2)
        assert (
            dark.any() and not dark[0].any() and not dark[-1].any() and not dark[:, 0].any() and not dark[:, -1].any()
        )
        for left, top, right, bottom in scene.word.glyph_boxes():
            assert 0 < left < right <= scene.width and 0 < top < bottom < scene.height


def test_a_page_has_its_words_below_each_other() -> None:
    heights = [word.y for word in random_page(random.Random("page")).words]
    assert len(heights) > 1 and heights == sorted(heights)


def test_clips_move_the_way_they_say_and_stay_inside() -> None:
    rng = random.Random("clips")
    seen = set()
    for _ in range(80):
        clip = random_clip(rng)
        seen.add(clip.heading)
        first, last = clip.frame(0), clip.frame(clip.frames - 1)
        dx, dy = HEADINGS[clip.heading]
        a, b = first.shapes[0], last.shapes[0]
        assert (np.sign(round(b.x - a.x, 6)), np.sign(round(b.y - a.y, 6))) == (dx, dy)
        for frame in (first, last):
            box = frame.relative_box(frame.shapes[0])
            assert min(box) >= 0 and max(box) <= 1
        assert 1 <= clip.seconds <= 3 and 8 <= clip.fps <= 12
    assert seen == set(HEADINGS)


def test_a_finer_drawing_is_the_same_picture_but_for_its_edges() -> None:
    scene = scenes(1)[0]
    coarse, fine = (np.asarray(draw(replace(scene, smooth=k))).astype(int) for k in (1, 3))
    assert np.abs(coarse - fine).mean() < 3
