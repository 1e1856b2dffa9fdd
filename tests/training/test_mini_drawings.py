"""Ovis-mini reads drawings that weren't made by what taught it: soft edges, nothing behind, turned, compressed.

All is drawn here, by other code than training's: each pixel's color is how much of it a shape covers, reckoned from the
shape's outline.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovis_app import chat
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings

PLACES = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")
PAINTS = {
    "red": (230, 20, 30), "green": (20, 140, 50), "blue": (30, 80, 220), "yellow": (250, 225, 40),
    "purple": (140, 40, 160), "orange": (250, 145, 30), "black": (15, 15, 15),
}  # fmt: skip
CORNERS = {"triangle": 3, "square": 4, "star": 10}
KINDS = ("circle", *CORNERS)
SIDE, FINE = 192, 5
ANSWERS = GenerationSettings(max_new_tokens=80)
NUMBER, LEAST = 24, 0.9  # drawings of a way, each asked four things; the share that must be right


@dataclass(frozen=True)
class Thing:
    kind: str
    paint: str
    place: int


def inside(kind: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points, from a shape's middle and in parts of its size, lie in it: y grows downwards."""
    if kind == "circle":
        return np.hypot(x, y) <= 1
    if kind == "square":
        return np.maximum(abs(x), abs(y)) <= 0.88
    around, far = np.arctan2(x, -y) % math.tau, np.hypot(x, y)
    count = CORNERS[kind] // 2 if kind == "star" else 3
    part = math.tau / count
    off = np.minimum(around % part, part - around % part)  # from the nearest corner that sticks out
    inner = 0.45 if kind == "star" else 0.5
    # the straight line from a corner, at distance 1, to the middle of the notch or side, at distance `inner`
    sine = math.sin(part / 2)
    edge = inner * sine / (np.sin(off) + inner * np.sin(part / 2 - off))
    return far <= edge


def covered(thing: Thing, degrees: float, wobble: random.Random) -> np.ndarray:
    """How much of each pixel a thing covers, from 0 to 1."""
    cell = SIDE / 3
    middle = [(spot + 0.5 + wobble.uniform(-0.06, 0.06)) * cell for spot in (thing.place % 3, thing.place // 3)]
    size, turn = cell * wobble.uniform(0.27, 0.36), math.radians(degrees)
    fine = (np.arange(SIDE * FINE) + 0.5) / FINE
    across, down = (fine[None, :] - middle[0]) / size, (fine[:, None] - middle[1]) / size
    x, y = across * math.cos(turn) + down * math.sin(turn), down * math.cos(turn) - across * math.sin(turn)
    return inside(thing.kind, x, y).reshape(SIDE, FINE, SIDE, FINE).mean(axis=(1, 3))


def drawn(things: list[Thing], way: str, luck: random.Random, path: Path) -> Path:
    """A drawing in a file, as one way makes it."""
    turn = luck.uniform(-10, 10) if way == "turned" else 0.0
    paper = tuple(luck.randint(225, 255) for _ in range(3))
    pixels = np.zeros((SIDE, SIDE, 4)) if way == "clear" else np.full((SIDE, SIDE, 4), (*paper, 255), float)
    for thing in things:
        share = covered(thing, turn, luck)[..., None]
        color = np.array((*PAINTS[thing.paint], 255.0))
        if way == "clear":
            pixels = np.where(share > 0, np.concatenate([np.broadcast_to(color[:3], (SIDE, SIDE, 3)), share * 255], 2),
                              pixels)  # fmt: skip
        else:
            pixels = pixels * (1 - share) + color * share
    picture = Image.fromarray(pixels.round().astype(np.uint8))
    if way == "clear":
        picture.save(path.with_suffix(".png"))
        return path.with_suffix(".png")
    if way == "compressed":
        picture.convert("RGB").save(path.with_suffix(".jpg"), quality=luck.randint(45, 70))
        return path.with_suffix(".jpg")
    picture.convert("RGB").save(path.with_suffix(".png"))
    return path.with_suffix(".png")


def asked(things: list[Thing], luck: random.Random) -> list[tuple[str, str]]:
    """A question about color, one about shape, one about place and one about number, each with its answer."""
    one = luck.choice(things)
    a = "an" if one.paint[0] in "aeiou" else "a"
    return [
        (f"What color is the {one.kind}?", f"The {one.kind} is {one.paint}."),
        (f"What is at the {PLACES[one.place]}?", f"It is {a} {one.paint} {one.kind}."),
        (f"Where is the {one.paint} {one.kind}?", f"The {one.paint} {one.kind} is at the {PLACES[one.place]}."),
        ("How many shapes are there?", f"There {'is' if len(things) == 1 else 'are'} {len(things)} "
         f"shape{'s' * (len(things) != 1)}."),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def backend() -> LocalBackend:
    return LocalBackend(Settings(device="cpu"), Limits())


def said(backend: LocalBackend, question: str, path: Path) -> str:
    media = Media("image", path, path.name)
    *_, last = chat.reply(backend, Request(Conversation((Message("user", question, (media,)),)), ANSWERS))
    assert last.messages[-1].error == ""
    return last.messages[-1].text.strip()


@pytest.mark.parametrize("way", ["soft", "clear", "turned", "compressed"])
def test_a_drawing_of_any_program_is_read(way: str, backend: LocalBackend, tmp_path: Path) -> None:
    luck, wrong, count = random.Random(f"drawings {way}"), list[tuple[str, str, str]](), 0
    for number in range(NUMBER):
        places = luck.sample(range(9), luck.randint(1, 3))
        kinds, paints = luck.sample(KINDS, len(places)), luck.sample(sorted(PAINTS), len(places))
        things = [Thing(kind, paint, place) for kind, paint, place in zip(kinds, paints, sorted(places), strict=True)]
        path = drawn(things, way, luck, tmp_path / f"{number}")
        for question, wanted in asked(things, luck):
            answer = said(backend, question, path)
            count += 1
            wrong += [] if answer == wanted else [(question, answer, wanted)]
    assert len(wrong) <= (1 - LEAST) * count, wrong
