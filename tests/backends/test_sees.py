"""How a model sees a picture: which part each visual token covers, and which visual word it is taken for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from ovis_app import zoo
from ovis_app.backend import Sees
from ovis_app.backends.fair_queue import FairQueue
from ovis_app.backends.fake import FakeBackend
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.backends.local.session import Session
from ovis_app.bundled import folder
from ovis_app.checkpoints.load import load
from ovis_app.conversation import Conversation, Detail, Media, Message
from ovis_app.errors import BackendError, RequestError
from ovis_app.generation import GenerationSettings, Request, Waiting
from ovis_app.limits import Limits
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.preprocess.cells import LAYOUTS, sight
from ovis_app.models.preprocess.values import Visual
from ovis_app.settings import Settings
from ovis_app.sight import Sight
from tests.waiting import until

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
SHAPES = folder("examples") / "shapes.png"
WORDS = 1272  # of Ovis-mini


def request(*media: Media, text: str = "") -> Request:
    return Request(Conversation((Message("user", text, media),)), GenerationSettings())


def picture(path: Path, size: tuple[int, int], *, blue: tuple[int, int, int, int] | None = None) -> Path:
    """Black, or with a blue part."""
    made = Image.new("RGB", size)
    if blue is not None:
        made.paste((30, 60, 250), blue)
    made.save(path)
    return path


def seen(backend: Sees, asked: Request, place: int = 0) -> Sight:
    *before, last = backend.sees(asked, place)
    assert all(isinstance(one, Waiting) for one in before) and isinstance(last, Sight)
    return last


@pytest.fixture(scope="module")
def mini() -> LocalBackend:
    return LocalBackend(Settings(device="cpu"), Limits())


def test_the_map_is_what_the_visual_tokenizer_says(mini: LocalBackend) -> None:
    found = seen(mini, request(Media("image", SHAPES)))
    with Image.open(SHAPES) as shapes:
        assert found.size == found.inner == shapes.size
        model = load(zoo.MINI.folder)
        limits = zoo.MINI.detail(Media("image", SHAPES), several=False)
        pixels = FAMILIES["ovis2_5"].pixels(
            model.config, Visual("image", (shapes.convert("RGB"),), limits.min_pixels or 0, limits.max_pixels or 0)
        )
    with torch.inference_mode():
        odds = model.visual_tokenizer(pixels.values, pixels.grids).double()
    (cells,) = found.cells
    assert (cells.rows, cells.columns) == (pixels.grids[0][1] // 2, pixels.grids[0][2] // 2)
    assert found.seen == (cells.columns * 32, cells.rows * 32) and found.vocabulary == odds.shape[1] == WORDS
    assert cells.words is not None
    assert list(cells.words.rows) == odds.argmax(-1).tolist()
    torch.testing.assert_close(torch.tensor(cells.words.shares).double(), odds.amax(-1), rtol=0, atol=1e-4)
    entropy = -(odds * (odds + 1e-30).log2()).sum(-1)
    torch.testing.assert_close(torch.tensor(cells.words.bits).double(), entropy, rtol=0, atol=1e-3)
    assert 0 <= min(cells.words.bits) < max(cells.words.bits) <= math.log2(WORDS)


def test_what_differs_in_a_picture_differs_in_its_cells(mini: LocalBackend, tmp_path: Path) -> None:
    plain = seen(mini, request(Media("image", picture(tmp_path / "a.png", (270, 180))))).cells[0]
    assert (plain.rows, plain.columns) == (7, 10)
    marked = picture(tmp_path / "b.png", (270, 180), blue=(108, 26, 135, 51))  # the second row's fifth cell
    other = seen(mini, request(Media("image", marked))).cells[0]
    assert plain.words is not None and other.words is not None
    apart = [abs(one - after) for one, after in zip(plain.words.bits, other.words.bits, strict=True)]
    row, column = divmod(apart.index(max(apart)), plain.columns)
    assert abs(row - 1) <= 1 and abs(column - 4) <= 1


@pytest.mark.parametrize("family", ["ovis1.6", "ovis2"])
def test_tiles_lie_where_the_picture_is_cut(family: str, tmp_path: Path) -> None:
    """Each tile's visual words are those of the picture's part as a picture of its own."""
    checkpoint = next(GOLDEN.joinpath(family).glob("*/checkpoint"))
    backend = LocalBackend(Settings(model=str(checkpoint), device="cpu"), Limits())
    layout = FAMILIES[backend.spec.family].layout(load(checkpoint).config)
    side = layout.tile
    file = tmp_path / "wide.png"
    Image.effect_mandelbrot((2 * side, side), (-2, -1.2, 1.2, 1.2), 90).convert("RGB").save(file)
    found = seen(backend, request(Media("image", file, detail=Detail(max_partition=2))))
    whole, left, right = found.cells
    assert [one.tile for one in found.cells] == [False, True, True] and found.seen == (2 * side, side)
    assert (whole.left, whole.right) == pytest.approx((0, layout.cell * layout.across / side))
    assert whole.top < -0.4 and whole.bottom > 1.4  # it stands in the middle of a square
    assert (left.left, left.top, right.left, right.top) == pytest.approx((0, 0, 0.5, 0))
    for number, tile in enumerate((left, right)):
        part = tmp_path / f"{number}.png"
        with Image.open(file) as all_of_it:
            all_of_it.crop((number * side, 0, (number + 1) * side, side)).save(part)
        (alone,) = seen(backend, request(Media("image", part, detail=Detail(max_partition=1)))).cells
        assert tile.words is not None and alone.words is not None
        assert tile.words.rows == alone.words.rows
        assert tile.words.bits == pytest.approx(alone.words.bits, abs=1e-3)
    backend.close()


def test_known_families_are_divided_as_their_checkpoints_are() -> None:
    assert sight(LAYOUTS["ovis2"], (896, 448), Detail(max_partition=9)).cells[0].count == 256
    assert sight(LAYOUTS["ovis1_6"], (384, 384), Detail(max_partition=9)).cells[0].count == 196
    page = sight(LAYOUTS["ovis2_5"], (1080, 20000), Detail(min_pixels=448 * 448, max_pixels=1344 * 1792))
    assert page.seen == (352, 6656) and page.cells[0].count == 11 * 208


def test_a_picture_in_pieces_is_covered_by_them(tmp_path: Path) -> None:
    long = Media("image", picture(tmp_path / "long.png", (100, 800)), detail=Detail(split=True))
    asked = request(Media("image", SHAPES), long)
    model = replace(zoo.MINI, several_images=True)
    found = seen(FakeBackend(model=model), asked, 1)
    assert found.size == (100, 800) and found.pieces == len(found.cells) == 7
    assert [found.cells[0].top, found.cells[-1].bottom] == pytest.approx([0, 1])
    for one, after in zip(found.cells, found.cells[1:], strict=False):
        assert one.left == 0 and one.right == 1 and one.top < after.top < one.bottom < after.bottom
    assert seen(FakeBackend(model=model), asked, 0).pieces == 1


@pytest.mark.parametrize("place", [1, -1, 99])
def test_what_is_no_picture_of_the_question_is_refused(place: int) -> None:
    with pytest.raises(RequestError, match="no such picture"):
        seen(FakeBackend(), request(Media("image", SHAPES)), place)


def test_a_family_that_nobody_knows_is_said_to_be_so() -> None:
    with pytest.raises(BackendError, match="Nobody's divides a picture isn't known"):
        seen(FakeBackend(model=replace(zoo.MINI, name="Nobody's", family="")), request(Media("image", SHAPES)))


def test_whoever_looks_waits_in_line_and_never_beside_a_step(mini: LocalBackend) -> None:
    line = FairQueue(mini, Limits(), at_once=1, most_waiting=8)
    list(line.stream(request(Media("image", SHAPES), text="hi")))
    session = mini._session
    assert isinstance(session, Session)
    with session.turns:  # as while a step runs
        looking, other = (line.sees(request(Media("image", SHAPES)), 0) for _ in range(2))
        for _ in range(10):
            assert isinstance(next(looking), Waiting)
        assert next(other) == Waiting("Waiting for 1 other question")
    assert isinstance(list(looking)[-1], Sight)
    assert isinstance(list(other)[-1], Sight)


def test_whoever_leaves_ends_the_work(mini: LocalBackend) -> None:
    list(mini.stream(request(Media("image", SHAPES), text="hi")))
    assert mini._session is not None
    with mini._session.turns:
        looking = mini.sees(request(Media("image", SHAPES)), 0)
        next(looking)
        looking.close()  # type: ignore[attr-defined]
    until(lambda: mini.status().phase == "ready")
