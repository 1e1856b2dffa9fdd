"""How pixels are made is what preprocessor_config.json says, in all three generations; nonsense is one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.checkpoints.load import load
from ovis_app.errors import BackendError
from ovis_app.models.config import OvisConfig
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.preprocess.pixel_format import PixelFormat
from ovis_app.models.preprocess.values import Visual
from ovis_app.zoo import MINI_FOLDER

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
GENERATIONS = ["ovis1.6", "ovis2", "ovis2.5"]
SIDE = {"ovis1.6": 42, "ovis2": 56, "ovis2.5": 64}  # pixels that the tiny checkpoints make of a square picture
HALF, CLIP = [0.5] * 3, [[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]]
Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A copy of a tiny checkpoint whose preprocessor_config.json says something else; None takes a fact away."""

    def copied(generation: str, **facts: object) -> Path:
        shutil.copytree(GOLDEN / generation / "public-a" / "checkpoint", tmp_path / "mine", dirs_exist_ok=True)
        file = tmp_path / "mine" / "preprocessor_config.json"
        said = {**json.loads(file.read_text(encoding="utf-8")), **facts}
        file.write_text(json.dumps({name: fact for name, fact in said.items() if fact is not None}))
        return tmp_path / "mine"

    return copied


def pixels(folder: Path, picture: Image.Image, side: int) -> np.ndarray:
    """What the tower gets to see of a picture that is one tile, or `side` x `side` pixels."""
    config = OvisConfig.read(folder)
    area = side * side
    visual = Visual("image", (picture,), min_pixels=area, max_pixels=area, max_partition=1)
    values: np.ndarray = FAMILIES[config.family].pixels(config, visual).values.numpy()
    return values


def noise(side: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("resample", list(Image.Resampling))
def test_the_filter_is_the_checkpoints(folder: Folder, generation: str, resample: Image.Resampling) -> None:
    """A picture looks as it does when somebody has resized it with that filter before."""
    side, picture = SIDE[generation], noise(100)
    said = folder(generation, resample=int(resample))
    before = pixels(said, picture.resize((side, side), resample), side)
    assert np.array_equal(pixels(said, picture, side), before)


@pytest.mark.parametrize(
    ("generation", "usual"),
    [
        ("ovis1.6", Image.Resampling.BICUBIC),
        ("ovis2", Image.Resampling.BICUBIC),
        ("ovis2.5", Image.Resampling.BILINEAR),
    ],
)
def test_a_checkpoint_that_says_nothing_gets_its_generations_own(
    folder: Folder, generation: str, usual: Image.Resampling
) -> None:
    side, picture = SIDE[generation], noise(100)
    mean, std = CLIP if generation == "ovis2" else (HALF, HALF)
    facts = {"resample": int(usual), "image_mean": mean, "image_std": std, "rescale_factor": 1 / 255}
    said = pixels(folder(generation, **facts), picture, side)
    silent = folder(generation, **dict.fromkeys([*facts, "do_rescale", "do_normalize"]))
    assert np.array_equal(pixels(silent, picture, side), said)
    (silent / "preprocessor_config.json").unlink()
    assert np.array_equal(pixels(silent, picture, side), said)


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(
    ("facts", "seen"),
    [
        ({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.1, 0.2, 0.4]}, (1.0, 1.0, 1.25)),
        ({"image_mean": 0.4, "image_std": 0.2}, (-1.0, 0.0, 2.0)),
        ({"image_mean": HALF, "image_std": HALF, "rescale_factor": 1 / 127.5}, (-0.2, 0.6, 2.2)),
        ({"do_normalize": False}, (0.2, 0.4, 0.8)),
        ({"do_normalize": False, "do_rescale": False}, (51.0, 102.0, 204.0)),
        ({"image_mean": [1, 2, 4], "image_std": [50, 50, 50], "do_rescale": False}, (1.0, 2.0, 4.0)),
    ],
)
def test_the_numbers_are_the_checkpoints(
    folder: Folder, generation: str, facts: dict[str, object], seen: tuple[float, ...]
) -> None:
    side = SIDE[generation]
    picture = Image.new("RGB", (side, side), (51, 102, 204))
    values = pixels(folder(generation, **facts), picture, side)
    values = values.reshape(-1, 3, values.size // 3 // len(values))  # [tiles or patches, channel, pixels]
    np.testing.assert_allclose(values, np.broadcast_to(np.array(seen)[:, None], values.shape), rtol=0, atol=1e-5)


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resample", 99),
        ("resample", -1),
        ("resample", "bicubic"),
        ("resample", True),
        ("image_mean", [0.5, 0.5]),
        ("image_mean", "abc"),
        ("image_mean", [0.5, "0.5", 0.5]),
        ("image_mean", [0.5, float("nan"), 0.5]),
        ("image_mean", {"red": 0.5}),
        ("image_std", [0.5, 0, 0.5]),
        ("image_std", [0.5, 1e-300, 0.5]),
        ("image_std", [-0.5] * 3),
        pytest.param("image_std", 10**400, id="image_std-long"),
        ("rescale_factor", 0),
        ("rescale_factor", float("inf")),
        ("rescale_factor", [1]),
        ("do_rescale", "no"),
        ("do_normalize", 2),
    ],
)
def test_pixels_that_make_no_sense_are_one_sentence(folder: Folder, generation: str, name: str, value: object) -> None:
    """Said when the checkpoint is looked over, before its weights are read."""
    said = folder(generation, **{name: value})
    for looked_over in (lambda folder: Checkpoint.read(folder, "mine"), load):
        with pytest.raises(BackendError) as caught:
            looked_over(said)
        sentence = str(caught.value)
        assert sentence.startswith(f"No model can be built from this preprocessor_config.json ({name} is ")
        assert sentence.endswith("download it again, or choose another checkpoint.") and len(sentence) < 250


def test_ovis_mini_says_what_it_was_trained_with() -> None:
    """At another filter its answers would change."""
    said = OvisConfig.read(MINI_FOLDER).pixel_format
    assert said == PixelFormat(Image.Resampling.BILINEAR)
