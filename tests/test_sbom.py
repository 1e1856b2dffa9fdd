"""The bill of materials names what is there: the lock's versions, the page's libraries and the model, file by file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from packaging.requirements import Requirement

from ovis_app import zoo
from tools import sbom
from tools.sbom import bill, written
from tools.vendor import SUMS, WANTED

ROOT = Path(__file__).parent.parent
LIBRARIES = json.loads(WANTED.read_text("utf-8"))


@pytest.fixture(scope="module")
def bom() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(written(bill()))  # against CycloneDX's own schema
    return found


def of(bom: dict[str, Any], start: str) -> list[dict[str, Any]]:
    return [one for one in bom["components"] if one["bom-ref"].startswith(start)]


def test_its_packages_are_those_of_the_lock(bom: dict[str, Any]) -> None:
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    found = {(one["name"], one["version"]) for one in of(bom, "pkg:pypi/")}
    assert found == {(pin.name, str(pin.specifier).removeprefix("==")) for pin in pins} and len(found) > 90


def test_its_libraries_have_licence_source_and_hashes(bom: dict[str, Any]) -> None:
    found = {one["purl"].partition("/")[2].replace("%40", "@"): one for one in of(bom, "pkg:npm/")}
    assert found.keys() == {f"{name}@{wanted['version']}" for name, wanted in LIBRARIES.items()}
    for name, wanted in LIBRARIES.items():
        one = found[f"{name}@{wanted['version']}"]
        ((licence,),) = [list(entry.values()) for entry in one["licenses"]]
        assert wanted["licence"] in (licence, licence.get("id") if isinstance(licence, dict) else "")
        assert one["externalReferences"][0]["url"] == wanted["source"]
        assert len(one["components"]) == len(wanted["files"])
        assert one["scope"] == ("excluded" if "folder" in wanted else "required")


def test_every_file_in_it_has_that_content(bom: dict[str, Any]) -> None:
    (model,) = of(bom, "model:")
    assert {Path(file["name"]).name for file in model["components"]} >= {"model.safetensors", "tokenizer.json"}
    assert (model["name"], model["type"]) == (zoo.MINI_FOLDER.name, "machine-learning-model")
    for file in [file for one in bom["components"] for file in one.get("components", ())]:
        assert file["hashes"] == [
            {"alg": "SHA-256", "content": hashlib.sha256((ROOT / file["name"]).read_bytes()).hexdigest()}
        ]


@pytest.mark.parametrize("changed", [lambda rows: rows[1:], lambda rows: [64 * "0" + rows[0][64:], *rows[1:]]])
def test_a_file_that_is_not_as_written_down_is_a_sentence(
    changed: Callable[[list[str]], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "sums").write_text("\n".join(changed(SUMS.read_text("utf-8").splitlines())))
    monkeypatch.setattr(sbom, "SUMS", tmp_path / "sums")
    monkeypatch.setattr("sys.argv", ["sbom", "--out", str(tmp_path / "bom.json")])
    name = SUMS.read_text("utf-8").splitlines()[0].partition("  ")[2]
    assert sbom.main() == 1 and capsys.readouterr().err == sbom.UNKNOWN.format(name=name) + "\n"
    assert not (tmp_path / "bom.json").exists()


def test_what_the_schema_does_not_allow_is_not_written() -> None:
    bom = Bom()
    bom.metadata.component = Component(name="x", type=ComponentType.LIBRARY, mime_type="no such type")
    with pytest.raises(ValueError, match="no CycloneDX"):
        written(bom)
