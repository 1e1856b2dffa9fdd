"""Names find their rows, folders find their family, and the README's table is the zoo's."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from ovis_app import zoo

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "fixtures" / "golden"


@pytest.mark.parametrize("name", ["Ovis2.5-9B", "ovis2.5-9b", "AIDC-AI/Ovis2.5-9B", "ATH-MaaS/Ovis2.5-9B"])
def test_every_spelling_finds_the_row(name: str) -> None:
    spec = zoo.find(name)
    assert spec is not None and spec.id == "AIDC-AI/Ovis2.5-9B"


@pytest.mark.parametrize("organisation", ["AIDC-AI", "ATH-MaaS", "aidc-ai", "ATH-MAAS"])
@pytest.mark.parametrize("model", ["Ovis2.5-9B", "Ovis9-Unlisted-3B"])
@pytest.mark.parametrize(
    "written",
    [
        "{}",
        " {}/ ",
        "https://models.example/{}",
        "HTTPS://models.example/{}/",
        "https://models.example/models/{}?library=x#top",
        "huggingface.co/{}",
        "www.huggingface.co/{}/",
    ],
)
@pytest.mark.parametrize(
    ("revised", "revision"), [("", ""), ("@v1.0", "v1.0"), ("/tree/v1.0", "v1.0"), ("/tree/v1.0/", "v1.0")]
)
def test_both_names_of_the_organisation_are_one_model(
    organisation: str, model: str, written: str, revised: str, revision: str
) -> None:
    """So that what one tab calls AIDC-AI and another ATH-MaaS isn't loaded twice."""
    spec = zoo.resolve(written.format(f"{organisation}/{model}{revised}"))
    assert (spec.repository, spec.revision) == (f"AIDC-AI/{model}", revision)
    assert zoo.resolve(spec.id) == spec
    assert spec.parameters == (9.17 if model == "Ovis2.5-9B" else 3.0)


def test_names_are_unique() -> None:
    assert len({spec.name.lower() for spec in zoo.MODELS}) == len(zoo.MODELS)


@pytest.mark.parametrize(("folder", "family"), [("ovis1.6", "ovis1_6"), ("ovis2", "ovis2"), ("ovis2.5", "ovis2_5")])
def test_a_folder_finds_its_family(folder: str, family: str) -> None:
    spec = zoo.resolve(str(GOLDEN / folder / "public-a" / "checkpoint"))
    assert spec.family == family
    assert spec.thinking == (family == "ovis2_5")


def test_a_strange_config_is_no_ovis() -> None:
    for config in ({}, {"model_type": "llama"}, {"visual_tokenizer_config": 3}, {"model_type": "ovis"}):
        assert zoo.generation(config) is None


def test_a_folder_says_how_much_it_reads(tmp_path: Path) -> None:
    """Else /v1/models would promise programs what its family reads, and the model refuse it."""
    shutil.copytree(zoo.MINI_FOLDER, tmp_path / "mine")
    assert zoo.resolve(str(tmp_path / "mine")).context == zoo.MINI.context


def test_a_folder_says_how_large_it_wants_its_pictures(tmp_path: Path) -> None:
    """A copy of the bundled model elsewhere is asked at the resolution that it was trained at."""
    shutil.copytree(zoo.MINI_FOLDER, tmp_path / "mine")
    spec = zoo.resolve(str(tmp_path / "mine"))
    assert spec.single == zoo.MINI.single and spec.clip == zoo.MINI.clip and spec.name == "mine"


def test_the_readme_shows_the_zoo() -> None:
    assert zoo.table() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_bundled_model_is_there() -> None:
    folder = zoo.MINI.folder
    assert folder is not None
    assert zoo.generation(json.loads((folder / "config.json").read_text())) == "ovis2_5"


@pytest.mark.parametrize("name", ["x" * 300, f"someone/{'x' * 300}", "/" + "x" * 5000, "a\0b", "http://["])
def test_a_name_that_cannot_be_is_no_folder(name: str) -> None:
    spec = zoo.resolve(name)
    assert spec.folder is None and spec.repository in ("", name)


def test_a_folder_that_may_not_be_looked_into_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", denied)
    spec = zoo.resolve("/root/secret")
    assert spec.folder is None and spec.repository == ""


def test_a_folder_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(zoo.MINI_FOLDER, tmp_path / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    spec = zoo.resolve("~/mine")
    assert spec.folder == tmp_path / "mine" and spec.name == "mine"


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("https://models.example/AIDC-AI/Ovis2.5-2B", "AIDC-AI/Ovis2.5-2B"),
        (" https://models.example/AIDC-AI/Ovis2.5-2B/?library=x#top", "AIDC-AI/Ovis2.5-2B"),
        ("http://models.example/models/someone/Cats/tree/v1.0", "someone/Cats@v1.0"),
        ("https://models.example/someone/Cats/tree/refs%2Fpr%2F3", "someone/Cats@refs/pr/3"),
        ("https://models.example/someone/Cats/tree/", "someone/Cats"),
    ],
)
def test_a_pasted_address_is_its_repository(address: str, found: str) -> None:
    spec = zoo.resolve(address)
    assert spec.id == found and spec.repository == found.partition("@")[0]
    assert zoo.resolve(spec.id) == spec
    assert spec.thinking and ("AIDC" not in found or spec.parameters > 2)


def test_a_link_to_weights_that_are_gone_is_no_error(tmp_path: Path) -> None:
    shutil.copytree(zoo.MINI_FOLDER, tmp_path / "mine")
    (tmp_path / "mine" / "model.safetensors").unlink()
    (tmp_path / "mine" / "model.safetensors").symlink_to(tmp_path / "gone")
    assert zoo.resolve(str(tmp_path / "mine")).name == "mine"
