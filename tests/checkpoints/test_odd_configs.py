"""A checkpoint whose small files say nonsense is one sentence that says what to do, before its weights are read."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ovis_app import zoo
from ovis_app.checkpoints.load import load
from ovis_app.errors import BackendError
from tests.models_on_cpu import loaded_on_cpu

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
Change = Callable[[dict[str, Any]], object]


def folder_of(family: str, tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN / family / "public-a" / "checkpoint", tmp_path / "mine")
    return tmp_path / "mine"


def edited(folder: Path, name: str, change: Change) -> None:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    change(content)
    (folder / name).write_text(json.dumps(content))


def refused(folder: Path) -> str:
    with pytest.raises(BackendError) as caught:
        loaded_on_cpu(zoo.resolve(str(folder)), "float32")
    return str(caught.value)


def llm(**facts: object) -> Change:
    return lambda config: config["llm_config"].update(facts)


def tower(**facts: object) -> Change:
    return lambda config: config["vit_config"].update(facts)


@pytest.mark.parametrize(
    "change",
    [
        llm(hidden_size="64"),
        llm(hidden_size=float("nan")),
        llm(hidden_size=-64),
        llm(num_hidden_layers=0),
        llm(num_attention_heads=0),
        llm(hidden_act="nonsense"),
        llm(max_position_embeddings=-5),
        llm(rope_scaling={"type": "bogus", "factor": 2}),
        llm(eos_token_id="x"),
        lambda config: config.update(llm_config=[1]),
        lambda config: config.update(visual_vocab_size=3),
        tower(num_attention_heads=5),
        tower(num_hidden_layers=-1, patch_size=0),
        tower(hidden_stride=-2),
        tower(hidden_size="48"),
        tower(fullatt_block_indexes="a|b"),
        tower(fullatt_block_indexes="0", window_size=0),
    ],
)
def test_a_config_that_no_model_can_be_built_from(tmp_path: Path, change: Change) -> None:
    folder = folder_of("ovis2.5", tmp_path)
    edited(folder, "config.json", change)
    assert refused(folder).startswith("No model can be built from this config.json: download it again")


@pytest.mark.parametrize(
    "change", [llm(num_hidden_layers=1), tower(num_hidden_layers=10**6)], ids=["fewer layers", "a million layers"]
)
def test_a_config_of_other_layers_than_the_weights(tmp_path: Path, change: Change) -> None:
    """Fewer would answer with half a model; very many would take for ever to build."""
    folder = folder_of("ovis2.5", tmp_path)
    edited(folder, "config.json", change)
    assert "don't fit its config.json" in refused(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"vit_config": ' + "9" * 5000 + "}"], ids=["deep", "long number"])
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "generation_config.json"])
def test_json_that_python_refuses(tmp_path: Path, name: str, text: str) -> None:
    folder = folder_of("ovis2", tmp_path)
    (folder / name).write_text(text)
    assert refused(folder) == f"{name} in mine is damaged: download it again."


@pytest.mark.parametrize("end", ["x", [[1]], 1.5])
def test_an_end_that_is_no_token(tmp_path: Path, end: object) -> None:
    folder = folder_of("ovis2", tmp_path)
    edited(folder, "generation_config.json", lambda config: config.update(eos_token_id=end))
    assert refused(folder) == "generation_config.json in mine is damaged: download it again."


def test_how_pixels_are_normalised_is_looked_at(tmp_path: Path) -> None:
    folder = folder_of("ovis2", tmp_path)
    edited(folder, "preprocessor_config.json", lambda config: config.update(image_mean="abc"))
    assert "No model can be built" in refused(folder)


@pytest.mark.parametrize("facts", [{"min_pixels": 5}, {"min_pixels": "a", "max_pixels": "b"}, {"min_pixels": -3}])
def test_pixels_that_are_none_are_the_familys(tmp_path: Path, facts: dict[str, object]) -> None:
    folder = folder_of("ovis2.5", tmp_path)
    edited(folder, "preprocessor_config.json", lambda config: config.update(facts))
    of_family = replace(zoo.FAMILY_ROWS["ovis2_5"].single, made_for=None)  # what it was trained with nobody knows
    assert zoo.resolve(str(folder)).single == of_family


@pytest.mark.parametrize("shape", [[float("inf"), 1], "deep"])
def test_a_header_that_python_refuses(tmp_path: Path, shape: object) -> None:
    folder = folder_of("ovis2", tmp_path)
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    header = b"[" * 100_000 if shape == "deep" else header
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert "The weights in mine are damaged" in refused(folder)


def test_a_tensor_that_two_shards_hold_is_told(tmp_path: Path) -> None:
    folder = folder_of("ovis2", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors, folder / "model-00001-of-00002.safetensors")
    save_file({"vte.weight": tensors["vte.weight"] + 1}, folder / "model-00002-of-00002.safetensors")
    (folder / "model.safetensors").unlink()
    assert "holds weights that another file holds too" in refused(folder)


def test_what_is_loaded_from_the_hubs_cache_is_called_by_its_name(tmp_path: Path) -> None:
    """Its folder's name is a commit's number."""
    snapshot = tmp_path / "models--someone--Tiny" / "snapshots" / "c0ffee"
    shutil.copytree(GOLDEN / "ovis2" / "public-a" / "checkpoint", snapshot)
    heard: list[str] = []
    load(snapshot, dtype=torch.float32, progress=lambda words, share: heard.append(words))
    assert heard[-1].startswith("Loading someone/Tiny: ")
    (snapshot / "config.json").write_text("[")
    with pytest.raises(BackendError, match=r"config.json in someone/Tiny is damaged"):
        load(snapshot)


def test_heads_that_are_none_of_a_language_model_that_divides_by_them(tmp_path: Path) -> None:
    folder = folder_of("ovis1.6", tmp_path)
    edited(folder, "config.json", llm(num_attention_heads=0))
    assert "No model can be built" in refused(folder)
