"""Drawings as other programs make them are still drawings of their scene."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from ovis_app.training.mini.world.everyday import phrase
from ovis_app.training.mini.world.paint import PAINTS, TURN, painted, varied, varied_clip, worn
from ovis_app.training.mini.world.scenes import (
    COLORS,
    KINDS,
    Scene,
    Shape,
    draw,
    random_clip,
    random_scene,
    random_word,
    visible,
)


def test_no_two_shapes_are_alike_and_all_can_be_seen() -> None:
    rng = random.Random("varied")
    for _ in range(300):
        scene = varied(random_scene(rng), rng)
        assert len({shape.name for shape in scene.shapes}) == len(scene.shapes)
        assert all(visible(shape.paint, scene.background) for shape in scene.shapes)
        assert all(abs(shape.turn) <= TURN for shape in scene.shapes)


def test_shapes_of_one_color_and_of_one_kind_are_common() -> None:
    rng = random.Random("alike")
    three = [scene for scene in (varied(random_scene(rng), rng) for _ in range(600)) if len(scene.shapes) == 3]
    assert sum(len({s.color for s in scene.shapes}) < 3 for scene in three) > 0.3 * len(three)
    assert sum(len({s.kind for s in scene.shapes}) < 3 for scene in three) > 0.5 * len(three)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "circle"])
@pytest.mark.parametrize("turn", [-12.0, 7.0])
def test_boxes_agree_with_the_drawn_pixels_of_a_turned_shape(kind: str, turn: float) -> None:
    shape = Shape(kind, "blue", 4, 101.3, 97.8, 26.4, turn=turn)
    blue = (np.asarray(draw(Scene(200, 200, (240, 240, 240), (shape,), smooth=1))) == COLORS["blue"]).all(axis=2)
    rows, columns = np.flatnonzero(blue.any(axis=1)), np.flatnonzero(blue.any(axis=0))
    drawn = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert np.abs(np.array(drawn) - np.array(shape.box())).max() <= 1.5
    assert shape.outline() != replace(shape, turn=0.0).outline()


def test_drawings_on_nothing_get_backgrounds_on_which_each_shape_can_be_seen() -> None:
    rng = random.Random("clear")
    backgrounds = set()
    for _ in range(800):
        scene = random_scene(rng)
        image = painted(scene, rng)
        corner = image.getpixel((0, 0))
        backgrounds.add(corner)
        for shape in scene.shapes:
            assert visible(image.getpixel((round(shape.x), round(shape.y))), corner)
    assert {(255, 255, 255), (0, 0, 0)} <= backgrounds


def test_wear_keeps_the_picture() -> None:
    rng = random.Random("worn")
    changed = 0
    for scene in [random_word(rng) for _ in range(40)] + [random_scene(rng) for _ in range(40)]:
        image = draw(scene)
        other = worn(image, rng)
        changed += other is not image
        away = np.asarray(other.resize(image.size)).astype(int) - np.asarray(image)
        assert np.abs(away).mean() < 12
    assert 10 < changed < 60


def test_a_clip_keeps_its_paint_as_it_moves() -> None:
    rng = random.Random("clip")
    for _ in range(60):
        clip = varied_clip(random_clip(rng), rng)
        assert {clip.frame(i).shapes[0].paint for i in range(clip.frames)} == {clip.shape.paint}


def test_each_color_has_other_paints() -> None:
    assert PAINTS.keys() == COLORS.keys()


def test_what_is_repeated_is_never_empty_and_of_many_alphabets() -> None:
    rng = random.Random("phrase")
    texts = [phrase(rng) for _ in range(2000)]
    assert all(text == text.strip() != "" for text in texts)
    assert len({ord(char) >> 8 for text in texts for char in text}) > 20
