"""The drawn world that the embedded model knows: shapes in a 3 x 3 grid, one-word pictures, clips of one moving shape.

Knows how a scene is made up and drawn. Refuses to know questions, tokens or torch: tests and examples use it alone.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

KINDS = ("circle", "square", "triangle", "star")
COLORS = {
    "red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 220), "yellow": (240, 210, 50),
    "purple": (150, 60, 180), "orange": (245, 140, 30), "black": (20, 20, 20), "white": (250, 250, 250),
}  # fmt: skip
CELLS = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
HEADINGS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1), "still": (0, 0)}

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom
Ink = tuple[int, int, int]


@dataclass(frozen=True)
class Shape:
    """One solid shape. Lengths are pixels; `form` in 0..1 chooses among the usual ways to draw its kind. `ink` is the
    paint where it isn't its color's own; `turn` is in degrees, clockwise."""

    kind: str
    color: str
    cell: int
    x: float
    y: float
    radius: float
    form: float = 1.0
    ink: Ink | None = None
    turn: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.color} {self.kind}"

    @property
    def paint(self) -> Ink:
        return self.ink or COLORS[self.color]

    def outline(self) -> list[Point]:
        """The corners of a polygon; a circle has none."""
        sine, cosine = math.sin(math.radians(self.turn)), math.cos(math.radians(self.turn))
        return [
            (self.x + (x - self.x) * cosine - (y - self.y) * sine, self.y + (x - self.x) * sine + (y - self.y) * cosine)
            for x, y in self._upright()
        ]

    def _upright(self) -> list[Point]:
        x, y, r, form = self.x, self.y, self.radius, self.form
        if self.kind == "square":
            half = r * (0.8 + 0.2 * form)
            return [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)]
        if self.kind == "triangle":  # from equilateral (form 0) to one that fills its square (form 1)
            half, foot = r * (0.866 + 0.134 * form), r * (0.5 + 0.5 * form)
            return [(x, y - r), (x + half, y + foot), (x - half, y + foot)]
        if self.kind == "star":
            reach = [r, r * (0.382 + 0.118 * form)]
            turns = [math.pi * i / 5 for i in range(10)]
            return [(x + reach[i % 2] * math.sin(t), y - reach[i % 2] * math.cos(t)) for i, t in enumerate(turns)]
        return []

    def box(self) -> Box:
        points = self.outline()
        if not points:
            return self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True)
class Word:
    """A word of capitals and digits; (x, y) is the left top corner as PIL places text."""

    text: str
    x: float
    y: float
    size: int
    ink: Ink = (20, 20, 20)

    def glyph_boxes(self) -> list[Box]:
        """Where each letter stands, from its own left edge to the next one's, as high as the word."""
        face = font(self.size)
        edges = [self.x + face.getlength(self.text[:i]) for i in range(len(self.text) + 1)]
        _, top, _, bottom = face.getbbox(self.text)
        return [(a, self.y + top, b, self.y + bottom) for a, b in pairwise(edges)]


@dataclass(frozen=True)
class Scene:
    """One picture: shapes in row-major order, or a word. `smooth` is how many times finer it is drawn than shown."""

    width: int
    height: int
    background: Ink
    shapes: tuple[Shape, ...] = ()
    word: Word | None = None
    smooth: int = 2
    more_words: tuple[Word, ...] = ()  # only on the pages that practise reading: the domain has one word a picture

    @property
    def words(self) -> tuple[Word, ...]:
        return (*((self.word,) if self.word else ()), *self.more_words)

    def at(self, cell: int) -> Shape | None:
        return next((s for s in self.shapes if s.cell == cell), None)

    def relative_box(self, shape: Shape) -> Box:
        left, top, right, bottom = shape.box()
        return left / self.width, top / self.height, right / self.width, bottom / self.height


@dataclass(frozen=True)
class Clip:
    """One shape on its way through `frames` pictures; `heading` is a key of HEADINGS, `travel` the way in pixels."""

    scene: Scene
    heading: str
    travel: float
    seconds: float
    fps: int

    @property
    def shape(self) -> Shape:
        return self.scene.shapes[0]

    @property
    def frames(self) -> int:
        return max(2, round(self.seconds * self.fps))

    def frame(self, index: int) -> Scene:
        done = self.travel * index / (self.frames - 1)
        dx, dy = HEADINGS[self.heading]
        moved = _moved(self.shape, self.shape.x + dx * done, self.shape.y + dy * done)
        return Scene(self.scene.width, self.scene.height, self.scene.background, (moved,), smooth=self.scene.smooth)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)  # type: ignore[return-value]


def draw(scene: Scene, *, clear: bool = False) -> Image.Image:
    """The scene as a picture of its own size: RGB, or `clear`, RGBA on nothing."""
    k = scene.smooth
    size = (scene.width * k, scene.height * k)
    image = Image.new("RGBA", size) if clear else Image.new("RGB", size, scene.background)
    pen = ImageDraw.Draw(image)
    for shape in scene.shapes:
        if shape.kind == "circle":
            pen.ellipse([v * k for v in shape.box()], fill=shape.paint)
        else:
            pen.polygon([(x * k, y * k) for x, y in shape.outline()], fill=shape.paint)
    if k > 1:
        image = image.convert("RGBa").reduce(k).convert("RGBA") if clear else image.reduce(k)
    for word in scene.words:
        ImageDraw.Draw(image).text((word.x, word.y), word.text, fill=word.ink, font=font(word.size))
    return image


def random_scene(rng: random.Random, *, count: int | None = None) -> Scene:
    """A scene of the domain: one to four shapes, or `count`, no two alike."""
    width, height = random_size(rng)
    count = count or rng.randint(1, 4)
    background = random_background(rng)
    names = [(k, c) for k in KINDS for c in COLORS if visible(COLORS[c], background)]
    shapes = [
        _shape_in(rng, cell, kind, color, width, height)
        for cell, (kind, color) in zip(sorted(rng.sample(range(9), count)), rng.sample(names, count), strict=True)
    ]
    return Scene(width, height, background, tuple(shapes), smooth=rng.choice((1, 2, 2, 3)))


def random_word(rng: random.Random) -> Scene:
    """A scene with one word, dark on light, wholly inside the picture."""
    while True:
        width, height = random_size(rng)
        text = "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 6)))
        size = rng.randint(20, 46)
        left, top, right, bottom = font(size).getbbox(text)
        room = (width - 8 - (right - left), height - 8 - (bottom - top))
        if min(room) < 0:
            continue
        place = (rng.random(), rng.random()) if rng.random() < 0.6 else (0.5, 0.5)
        word = Word(text, 4 + place[0] * room[0] - left, 4 + place[1] * room[1] - top, size, random_dark(rng))
        return Scene(width, height, random_background(rng), word=word, smooth=1)


def random_page(rng: random.Random) -> Scene:
    """A practice page: a word on each of its lines."""
    width, height = random_size(rng)
    words: list[Word] = []
    y, ink = rng.uniform(2, 12), random_dark(rng)
    while True:
        text = "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 6)))
        size = rng.choice((rng.randint(20, 28), rng.randint(20, 28), rng.randint(20, 50)))
        left, top, right, bottom = font(size).getbbox(text)
        if words and y + bottom - top > height - 3:
            break
        if right - left < width - 6 and y + bottom - top <= height - 3:
            words.append(Word(text, 3 + rng.random() * (width - 6 - right + left) - left, y - top, size, ink))
            y += bottom - top + rng.uniform(6, 14)
    return Scene(width, height, random_background(rng), word=words[0], smooth=1, more_words=tuple(words[1:]))


def random_clip(rng: random.Random) -> Clip:
    """A clip of the domain: 1-3 s, 8-12 frames a second, one shape that moves straight or stands still."""
    start = random_scene(rng, count=1)
    shape, heading = start.shapes[0], rng.choice(tuple(HEADINGS))
    width, height, r = start.width, start.height, start.shapes[0].radius + 2
    dx, dy = HEADINGS[heading]
    room = (width if dx else height) - 2 * r
    travel = rng.uniform(0.4, 1.0) * room if heading != "still" else 0.0
    x, y = rng.uniform(r, width - r), rng.uniform(r, height - r)
    before = rng.uniform(0, room - travel)  # the free way behind the start
    x = r + before if dx > 0 else width - r - before if dx < 0 else x
    y = r + before if dy > 0 else height - r - before if dy < 0 else y
    scene = Scene(width, height, start.background, (_moved(shape, x, y),), smooth=start.smooth)
    return Clip(scene, heading, travel, round(rng.uniform(1, 3), 1), rng.randint(8, 12))


def random_size(rng: random.Random) -> tuple[int, int]:
    """128 to 256 pixels a side, at most 2:1 either way; squares and full size are common."""
    if rng.random() < 0.35:
        side = rng.choice((128, 160, 192, 200, 224, 240, 256, 256))
        return side, side
    return rng.randint(128, 256), rng.randint(128, 256)


def random_background(rng: random.Random) -> Ink:
    low, high = rng.choice(((150, 235), (150, 235), (236, 255)))
    if high == 255 and rng.random() < 0.5:
        return (rng.randint(low, high),) * 3
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def random_dark(rng: random.Random) -> Ink:
    if rng.random() < 0.5:
        return (rng.randint(0, 60),) * 3
    return rng.randint(0, 100), rng.randint(0, 80), rng.randint(0, 100)


def visible(ink: Ink, background: Ink) -> bool:
    """Whether a person would see the shape: white on near-white is not asked for."""
    return sum(abs(a - b) for a, b in zip(ink, background, strict=True)) >= 45


def _shape_in(rng: random.Random, cell: int, kind: str, color: str, width: int, height: int) -> Shape:
    across, down = width / 3, height / 3
    x = (cell % 3 + 0.5 + rng.uniform(-0.08, 0.08)) * across
    y = (cell // 3 + 0.5 + rng.uniform(-0.08, 0.08)) * down
    form = rng.choice((0.0, 1.0, 1.0, rng.random()))
    return Shape(kind, color, cell, x, y, rng.uniform(0.22, 0.38) * min(across, down), form)


def _moved(shape: Shape, x: float, y: float) -> Shape:
    return replace(shape, x=x, y=y)
