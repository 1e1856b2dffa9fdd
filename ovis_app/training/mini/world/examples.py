"""Draws the page's example media: `python -m ovis_app.training.mini.world.examples --out assets/examples`.

Knows a few hand-made scenes inside the domain. Refuses to know questions or models.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ovis_app.training.mini.world.scenes import CELLS, Clip, Ink, Scene, Shape, Word, draw, font

SIDE = 256


def shape(kind: str, color: str, cell: str, *, radius: float = 0.34) -> Shape:
    """A shape in the middle of its cell."""
    place, across = CELLS.index(cell), SIDE / 3
    return Shape(kind, color, place, (place % 3 + 0.5) * across, (place // 3 + 0.5) * across, radius * across)


def picture(background: Ink, *shapes: Shape) -> Scene:
    return Scene(SIDE, SIDE, background, tuple(sorted(shapes, key=lambda s: s.cell)), smooth=3)


PICTURES = {
    "shapes": picture(
        (246, 244, 238), shape("circle", "red", "top left"), shape("square", "blue", "center"),
        shape("star", "yellow", "bottom right", radius=0.38), shape("triangle", "green", "bottom left"),
    ),
    "left": picture((222, 233, 235), shape("triangle", "purple", "top")),
    "right": picture(
        (235, 226, 214), shape("star", "orange", "top right", radius=0.38), shape("circle", "green", "left"),
        shape("square", "black", "bottom"),
    ),
    "counting": picture(
        (214, 224, 235), shape("circle", "yellow", "top"), shape("circle", "purple", "center"),
        shape("circle", "white", "bottom right"),
    ),
}  # fmt: skip


def word_picture(text: str = "HELLO", size: int = 40) -> Scene:
    left, top, right, bottom = font(size).getbbox(text)
    x, y = (SIDE - right - left) / 2, (160 - bottom - top) / 2
    return Scene(SIDE, 160, (250, 248, 243), word=Word(text, x, y, size, (30, 34, 60)), smooth=1)


def clip() -> Clip:
    ball = Shape("circle", "red", 3, 40, 96, 26)
    return Clip(Scene(256, 192, (233, 232, 224), (ball,), smooth=3), "right", 176, 2.0, 12)


def write_clip(moving: Clip, path: Path) -> None:
    """The clip as an h264 mp4."""
    from moviepy import ImageSequenceClip

    frames = [np.asarray(draw(moving.frame(i))) for i in range(moving.frames)]
    film = ImageSequenceClip(frames, fps=moving.fps)
    exact = ["-pix_fmt", "yuv420p", "-crf", "18"]
    film.write_videofile(str(path), codec="libx264", audio=False, logger=None, ffmpeg_params=exact)
    film.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the example pictures and the example clip.")
    parser.add_argument("--out", type=Path, default=Path("assets/examples"))
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene in PICTURES.items():
        draw(scene).save(folder / f"{name}.png", optimize=True)
    draw(word_picture()).save(folder / "word.png", optimize=True)
    write_clip(clip(), folder / "clip.mp4")


if __name__ == "__main__":
    main()
