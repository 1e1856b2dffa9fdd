"""The same drawings as other programs make them: other paints, turned shapes, soft edges, transparency, JPEG and noise.

Knows how pictures are drawn and spoilt. Refuses to know questions, tokens and torch.
"""

from __future__ import annotations

import io
import random
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from ovis_app.media.opaque import opaque
from ovis_app.training.mini.world.scenes import COLORS, Clip, Ink, Scene, Shape, draw, visible

# What the palettes of paint and office programs, and the web, call by a color's name.
PAINTS: dict[str, tuple[Ink, ...]] = {
    "red": ((255, 0, 0), (237, 28, 36), (192, 0, 0), (244, 67, 54), (200, 30, 60)),
    "green": ((0, 128, 0), (0, 255, 0), (34, 177, 76), (76, 175, 80), (0, 176, 80), (0, 100, 0)),
    "blue": ((0, 0, 255), (63, 72, 204), (0, 112, 192), (33, 150, 243), (0, 0, 128), (68, 114, 196)),
    "yellow": ((255, 255, 0), (255, 242, 0), (255, 235, 59), (250, 220, 0)),
    "purple": ((128, 0, 128), (163, 73, 164), (112, 48, 160), (156, 39, 176), (160, 32, 240)),
    "orange": ((255, 165, 0), (255, 127, 39), (255, 152, 0), (255, 128, 0), (237, 125, 49)),
    "black": ((0, 0, 0), (30, 30, 30), (40, 40, 40)),
    "white": ((255, 255, 255), (245, 245, 245)),
}
TURN = 12.0  # degrees, at most
ALIKE, OTHER_PAINT, TURNED, CLEAR = 0.4, 0.4, 0.3, 0.12


def varied(scene: Scene, rng: random.Random) -> Scene:
    """A scene as somebody else might have drawn it: shapes alike in color or kind, other paints, turned shapes."""
    shapes = list(scene.shapes)
    if len(shapes) > 1 and rng.random() < ALIKE:
        for _ in range(rng.randint(1, len(shapes) - 1)):
            shapes = _alike(shapes, rng)
    if rng.random() < OTHER_PAINT:
        shapes = [replace(shape, ink=_paint(shape.color, rng)) for shape in shapes]
    if rng.random() < TURNED:
        turn = rng.uniform(-TURN, TURN)
        apart = rng.random() < 0.5
        shapes = [replace(shape, turn=rng.uniform(-TURN, TURN) if apart else turn) for shape in shapes]
    if not all(visible(shape.paint, scene.background) for shape in shapes):
        return scene
    smooth = rng.choice((scene.smooth, scene.smooth, 4)) if scene.shapes else scene.smooth
    return replace(scene, shapes=tuple(shapes), smooth=smooth)


def varied_clip(clip: Clip, rng: random.Random) -> Clip:
    return replace(clip, scene=varied(clip.scene, rng))


def _alike(shapes: list[Shape], rng: random.Random) -> list[Shape]:
    """One shape takes another's color or kind, wherever that makes no two the same."""
    one, other = rng.sample(range(len(shapes)), 2)
    wish = replace(shapes[other], color=shapes[one].color)
    if rng.random() < 0.4:
        wish = replace(shapes[other], kind=shapes[one].kind)
    if wish.name in {shape.name for shape in shapes}:
        return shapes
    return [wish if number == other else shape for number, shape in enumerate(shapes)]


def _paint(color: str, rng: random.Random) -> Ink:
    red, green, blue = rng.choice((COLORS[color], *PAINTS[color]))
    away = 12 if color not in ("yellow", "orange", "black", "white") else 6
    shift = [rng.randint(-away, away) for _ in range(3)]
    return tuple(min(max(v + d, 0), 255) for v, d in zip((red, green, blue), shift, strict=True))  # type: ignore[return-value]


def painted(scene: Scene, rng: random.Random) -> Image.Image:
    """The scene drawn, now and then on nothing, as the app then shows it."""
    if scene.shapes and rng.random() < CLEAR:
        flat = opaque([draw(scene, clear=True)], None)[0]
        if all(visible(shape.paint, _behind(flat)) for shape in scene.shapes):
            return flat
    return draw(scene)


def _behind(image: Image.Image) -> Ink:
    """The color at the picture's edge, where no shape reaches."""
    return image.getpixel((0, 0))  # type: ignore[return-value]


def worn(image: Image.Image, rng: random.Random) -> Image.Image:
    """Some pictures as they come from the wild: compressed, noisy, soft or resized."""
    luck = rng.random()
    if luck < 0.14:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=rng.randint(40, 95), subsampling=rng.choice((0, 2)))
        return Image.open(stream).convert("RGB")
    if luck < 0.2:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 7), (image.height, image.width, 3))
        return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    if luck < 0.27:
        scale, way = rng.uniform(0.8, 2.5), rng.choice((Image.Resampling.BICUBIC, Image.Resampling.LANCZOS))
        return image.resize((round(image.width * scale), round(image.height * scale)), way)
    if luck < 0.32:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    return image
