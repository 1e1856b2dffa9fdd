"""Stage 1: a throw-away linear probe behind the visual table, which teaches tower, head and table to see.

Knows what each visual token should tell about the scene that it covers. Refuses to know words, questions or the LLM.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovis_app.models.preprocess.values import Grid
from ovis_app.training.mini.architecture import look
from ovis_app.training.mini.world.paint import painted, varied, varied_clip, worn
from ovis_app.training.mini.world.scenes import (
    COLORS,
    KINDS,
    LETTERS,
    Scene,
    Word,
    random_clip,
    random_page,
    random_scene,
    random_word,
)

BINS = 20  # of each box coordinate
SLOTS = 4  # glyphs in one visual token, left to right
NONE = -100
SHAPES, LETTERING = 0.2, 0.7  # of the pictures; the rest are frames of clips
COLOR_NAMES = tuple(COLORS)
SIZES = {
    "kind": 5,
    "color": 9,
    "cell": 9,
    "centre": 2,
    "box": 4 * BINS,
    "glyph": SLOTS * 37,
    "first": 6,
    "place": 6 * 37,
}


@dataclass(frozen=True)
class Targets:
    """One row per visual token. Classes are numbered with 0 for "none" where there can be none; NONE is not asked."""

    kind: Tensor  # [tokens] 0..4
    color: Tensor  # [tokens] 0..8
    cell: Tensor  # [tokens] 0..8 or NONE
    centre: Tensor  # [tokens] 0 or 1: the middle of a shape lies here
    box: Tensor  # [tokens, 4] in bins 0..BINS-1, or NONE
    glyph: Tensor  # [tokens, SLOTS] 0..36
    first: Tensor  # [tokens] place in the word of the first glyph, or NONE
    place: Tensor  # [tokens, 6] 0..36: the letter at each place of the word, if a good part of it lies here, or NONE


def targets(scene: Scene, grid: Grid) -> Targets:
    """What each visual token of one picture covers."""
    rows, columns = grid[1] // 2, grid[2] // 2
    n = rows * columns
    kind, color, centre = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    cell, first = np.full(n, NONE), np.full(n, NONE)
    box, glyph, best = np.full((n, 4), float(NONE), np.float32), np.zeros((n, SLOTS), np.int64), np.zeros(n)
    letters = np.zeros((n, 6), np.int64)
    for shape in scene.shapes:
        left, top, right, bottom = scene.relative_box(shape)
        xs, ys = _overlaps(left * columns, right * columns, columns), _overlaps(top * rows, bottom * rows, rows)
        cover = np.outer(ys, xs).ravel()
        middle = _token(shape.x / scene.width, shape.y / scene.height, rows, columns)
        cover[middle] += 1
        whole = (right - left) * columns * (bottom - top) * rows
        mine = (cover > min(0.25, 0.25 * whole)) & (cover > best)
        best[mine] = cover[mine]
        kind[mine], color[mine] = 1 + KINDS.index(shape.kind), 1 + COLOR_NAMES.index(shape.color)
        cell[mine], centre[middle] = shape.cell, 1
        box[mine] = np.clip([left, top, right, bottom], 0, 0.9999) * (BINS - 1)
    used: dict[int, int] = {}
    for word in scene.words:
        _spell(word, scene, rows, columns, used, glyph, first)
        _place(word, scene, rows, columns, letters)
    return Targets(*map(torch.from_numpy, (kind, color, cell, centre, box, glyph, first, letters)))


def _spell(
    word: Word, scene: Scene, rows: int, columns: int, used: dict[int, int], glyph: np.ndarray, first: np.ndarray
) -> None:
    for place, (left, top, right, bottom) in enumerate(word.glyph_boxes()):
        x, y = (left + right) / 2, (top + bottom) / 2
        token = _token(x / scene.width, y / scene.height, rows, columns)
        slot = used.get(token, 0)
        if slot == 0:
            first[token] = place
        if slot < SLOTS:
            glyph[token, slot] = 1 + LETTERS.index(word.text[place])
        used[token] = slot + 1


def _place(word: Word, scene: Scene, rows: int, columns: int, letters: np.ndarray) -> None:
    """Each letter is told by every token that holds a good part of it, so that none falls between two tokens."""
    for place, (left, top, right, bottom) in enumerate(word.glyph_boxes()):
        xs = _overlaps(left / scene.width * columns, right / scene.width * columns, columns)
        ys = _overlaps(top / scene.height * rows, bottom / scene.height * rows, rows)
        share = np.outer(ys / max(ys.sum(), 1e-9), xs / max(xs.sum(), 1e-9)).ravel()
        letters[(share > 0.1) & (letters[:, place] == 0), place] = NONE
        letters[share > 0.3, place] = 1 + LETTERS.index(word.text[place])


def _overlaps(low: float, high: float, n: int) -> np.ndarray:
    edges = np.arange(n)
    return np.clip(np.minimum(high, edges + 1) - np.maximum(low, edges), 0, 1)


def _token(x: float, y: float, rows: int, columns: int) -> int:
    return min(int(y * rows), rows - 1) * columns + min(int(x * columns), columns - 1)


class Probe(nn.Module):
    """A linear map from visual embeddings to everything in Targets. Thrown away after stage 1."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(hidden))
        self.maps = nn.ModuleDict({name: nn.Linear(hidden, size) for name, size in SIZES.items()})

    def forward(self, embeddings: Tensor) -> dict[str, Tensor]:
        return {name: layer(embeddings * self.scale) for name, layer in self.maps.items()}

    def loss(self, embeddings: Tensor, want: Targets) -> tuple[Tensor, dict[str, float]]:
        """The loss, and accuracies by name (of what is there, not of the empty)."""
        said = self(embeddings)
        there, read, placed = want.kind > 0, want.glyph > 0, want.place > 0
        weight = torch.where(there, 1.0, 0.1)
        parts = {
            "kind": _weighted(said["kind"], want.kind, weight),
            "color": _weighted(said["color"], want.color, weight),
            "centre": _weighted(said["centre"], want.centre, weight),
            "cell": _asked(said["cell"], want.cell),
            "box": _box_loss(said["box"][there].view(-1, 4, BINS), want.box[there]),
            "glyph": _weighted(
                said["glyph"].view(-1, 37), want.glyph.flatten(), torch.where(read, 1.0, 0.1).flatten()
            ),
            "first": _asked(said["first"], want.first),
            "place": _weighted(
                said["place"].view(-1, 37), want.place.flatten().clamp(min=0),
                torch.where(placed, 1.0, torch.where(want.place == 0, 0.05, 0.0)).flatten(),
            ),
        }  # fmt: skip
        hits = {
            "kind": (said["kind"].argmax(1) == want.kind)[there],
            "color": (said["color"].argmax(1) == want.color)[there],
            "cell": (said["cell"].argmax(1) == want.cell)[there],
            "centre": (said["centre"].argmax(1) == want.centre)[want.centre > 0],
            "glyph": (said["glyph"].view(-1, SLOTS, 37).argmax(2) == want.glyph)[read],
            "first": (said["first"].argmax(1) == want.first)[want.first >= 0],
            "place": (said["place"].view(-1, 6, 37).argmax(2) == want.place)[placed],
        }
        measures = {name: hit.float().mean().item() for name, hit in hits.items()}
        measures["box"] = _box_error(said["box"][there].view(-1, 4, BINS), want.box[there])
        total = 2 * parts["kind"] + parts["color"] + 0.5 * parts["centre"] + parts["cell"]
        total = total + 0.5 * parts["box"] + 0.4 * parts["glyph"] + 0.3 * parts["first"] + 4 * parts["place"]
        return total, measures


def _weighted(said: Tensor, want: Tensor, weight: Tensor) -> Tensor:
    return (F.cross_entropy(said, want, reduction="none") * weight).sum() / weight.sum().clamp(min=1)


def _asked(said: Tensor, want: Tensor) -> Tensor:
    """Cross entropy over the tokens that are asked at all; 0 when none is."""
    return F.cross_entropy(said, want, ignore_index=NONE, reduction="sum") / (want != NONE).sum().clamp(min=1)


def _box_loss(said: Tensor, want: Tensor) -> Tensor:
    """Cross entropy against the two bins around each coordinate: said [n, 4, BINS], want [n, 4] in bins."""
    low = want.floor().long()
    share = want - low
    logs = said.log_softmax(-1)
    below, above = logs.gather(2, low[..., None])[..., 0], logs.gather(2, (low + 1)[..., None])[..., 0]
    return -(below * (1 - share) + above * share).sum() / max(low.numel(), 1)


def _box_error(said: Tensor, want: Tensor) -> float:
    """Mean distance of the expected coordinate, as a share of the picture."""
    place = (said.softmax(-1) * torch.arange(BINS, dtype=torch.float32)).sum(-1)
    return ((place - want).abs().mean() / (BINS - 1)).item()


@dataclass(frozen=True)
class Batch:
    pixels: Tensor
    grids: list[Grid]
    wanted: Targets


def seeing_batch(rng: random.Random, size: int) -> Batch:
    """Pictures of all sorts with what their tokens should tell."""
    rows, grids, wanted = [], [], []
    for _ in range(size):
        luck, clip = rng.random(), False
        if luck < SHAPES:
            scene = varied(random_scene(rng, count=rng.choice((None, rng.randint(4, 9)))), rng)
        elif luck < SHAPES + LETTERING:
            scene = random_word(rng) if rng.random() < 0.25 else random_page(rng)
        else:
            moving, clip = varied_clip(random_clip(rng), rng), True
            scene = moving.frame(rng.randrange(moving.frames))
            scene = _in_its_cell(scene)
        pixels, grid = look([worn(painted(scene, rng), rng)], clip=clip)
        rows.append(pixels)
        grids.append(grid)
        wanted.append(targets(scene, grid))
    fields = Targets.__dataclass_fields__
    return Batch(torch.cat(rows), grids, Targets(*(torch.cat([getattr(w, f) for w in wanted]) for f in fields)))


def _in_its_cell(scene: Scene) -> Scene:
    """The frame of a clip with its shape's cell set to where it is now."""
    shape = scene.shapes[0]
    column, row = min(int(3 * shape.x / scene.width), 2), min(int(3 * shape.y / scene.height), 2)
    return replace(scene, shapes=(replace(shape, cell=3 * row + column),))
