"""The bundled model is the one that came with the app, or it isn't loaded: damage that no size and no shape shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ovis_app import zoo
from ovis_app.checkpoints import checksums, safetensors
from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.checkpoints.load import load
from ovis_app.errors import BackendError


def test_the_checksums_of_the_bundled_model_are_up_to_date() -> None:
    wrong = checksums.differing(zoo.MINI_FOLDER)
    assert wrong == [], "a new Ovis-mini? then `python -m ovis_app.training.mini checksums`"


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundled model that takes its place, and that a test may break."""
    shutil.copytree(zoo.MINI_FOLDER, tmp_path / "ovis-mini")
    monkeypatch.setattr(checksums, "MINI_FOLDER", tmp_path / "ovis-mini")
    return tmp_path / "ovis-mini"


def zeroed_inside(folder: Path) -> None:
    """Bytes within a tensor: the header, the sizes and the last weights stay as they were."""
    tensor = max(safetensors.stored(folder).values(), key=lambda tensor: tensor.size)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[tensor.begin + 64 : tensor.begin + 4160] = bytes(4096)
    (folder / "model.safetensors").write_bytes(data)


def another_end(folder: Path) -> None:
    text = (folder / "generation_config.json").read_text()
    (folder / "generation_config.json").write_text(text.replace('"eos_token_id": [', '"eos_token_id": [5, '))


def one_more(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}")


def no_list(folder: Path) -> None:
    (folder / checksums.SUMS).unlink()


def no_text(folder: Path) -> None:
    (folder / checksums.SUMS).write_bytes(b"\xff\xfe")


@pytest.mark.parametrize(
    ("damage", "file"),
    [(zeroed_inside, "model.safetensors"), (another_end, "generation_config.json"), (one_more, "chat_template.jinja"),
     (no_list, checksums.SUMS), (no_text, checksums.SUMS)],
)  # fmt: skip
def test_a_bundled_model_that_was_changed_is_a_sentence(bundled: Path, damage: object, file: str) -> None:
    Checkpoint.read(bundled, "Ovis-mini")
    damage(bundled)  # type: ignore[operator]
    for read in (lambda: Checkpoint.read(bundled, "Ovis-mini"), lambda: load(bundled)):
        with pytest.raises(BackendError) as caught:
            read()
        said = f"{file} of Ovis-mini isn't the file that this app came with: install the app again, or choose another"
        assert str(caught.value) == f"{said} model."


def test_a_copy_elsewhere_is_its_owners(bundled: Path, tmp_path: Path) -> None:
    shutil.copytree(bundled, tmp_path / "mine")
    zeroed_inside(tmp_path / "mine")
    load(tmp_path / "mine")
    checksums.write(tmp_path / "mine")
    assert checksums.differing(tmp_path / "mine") == []
