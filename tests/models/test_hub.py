"""From a repository to a folder, against a hub on this machine: whole, resumed, refused with a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ovis_app.models.hub import downloaded
from tests.models.hub_server import Hub, serve

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKPOINT = ROOT / "tests" / "fixtures" / "golden" / "ovis2.5" / "public-a" / "checkpoint"
REPOSITORY = "someone/Tiny-Ovis"

FETCH = """
import json, sys
from ovis_app import zoo
from ovis_app.generation import BackendError
from ovis_app.models import hub
notes = []
try:
    folder = hub.folder_of(zoo.resolve(sys.argv[1]), lambda note, share: notes.append(note))
    files = {p.name: p.stat().st_size for p in folder.iterdir()}
    print(json.dumps({"files": files, "notes": notes[-1:]}))
except BackendError as error:
    print(json.dumps({"error": str(error)}))
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkpoint with things that must not be fetched."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for file in CHECKPOINT.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "modeling_ovis2_5.py").write_text("raise SystemExit('this ran')")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    return folder


def fetch(hub: Hub, home: Path, name: str = REPOSITORY, **environment: str) -> dict[str, object]:
    """What a process of its own finds, with nothing in its cache but what earlier calls left."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", FETCH, name],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**clean, **settings, **environment},
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "" or "Traceback" not in done.stderr
    return dict(json.loads(done.stdout))


def test_weights_come_and_code_stays(repository: Path, tmp_path: Path) -> None:
    with serve(Hub(REPOSITORY, repository)) as hub:
        found = fetch(hub, tmp_path / "home")
        files = found["files"]
        assert isinstance(files, dict)
        assert files["model.safetensors"] == (CHECKPOINT / "model.safetensors").stat().st_size
        assert "config.json" in files and "tokenizer.json" in files
        assert not [name for name in files if name.endswith((".py", ".bin"))]
        assert not [path for _, path, _ in hub.asked if path.endswith((".py", ".bin"))]
        hub.asked.clear()
        again = fetch(hub, tmp_path / "home", HF_HUB_OFFLINE="1")
        assert again["files"] == files and hub.asked == []


def test_a_download_that_died_is_whole_at_the_next_try(repository: Path, tmp_path: Path) -> None:
    """One sentence at first; then what is missing comes, and nothing half-written is taken for whole."""
    with serve(Hub(REPOSITORY, repository, cut=300_000)) as hub:
        first = fetch(hub, tmp_path / "home", HF_HUB_DOWNLOAD_TIMEOUT="2")
        assert "try again" in str(first["error"])
        hub.cut = None
        kept = {path for _, path, _ in hub.asked if not path.endswith(".safetensors")}
        hub.asked.clear()
        second = fetch(hub, tmp_path / "home")
        fetched = {path for method, path, _ in hub.asked if method == "GET" and "/resolve/" in path}
    files = second["files"]
    assert isinstance(files, dict)
    assert files["model.safetensors"] == (CHECKPOINT / "model.safetensors").stat().st_size
    assert [path for path in fetched if path.endswith(".safetensors")] and kept


@pytest.mark.parametrize(
    ("name", "gated", "said"),
    [("someone/Other", False, "check the spelling"), (REPOSITORY, True, "accept its terms")],
)
def test_refusals_say_what_to_do(repository: Path, tmp_path: Path, name: str, gated: bool, said: str) -> None:
    with serve(Hub(REPOSITORY, repository, gated=gated)) as hub:
        assert said in str(fetch(hub, tmp_path / "home", name)["error"])


def test_no_network_is_one_sentence(repository: Path, tmp_path: Path) -> None:
    hub = Hub(REPOSITORY, repository, url="http://127.0.0.1:9")
    assert "check the network" in str(fetch(hub, tmp_path / "home")["error"])


def test_progress_is_told_in_bytes_and_time() -> None:
    assert downloaded("Ovis2.5-2B", 1.2e9, 5.1e9, 60) == "Downloading Ovis2.5-2B: 1.2 of 5.1 GB, 3 min left"
    assert downloaded("Tiny", 5e5, 1e6, 10) == "Downloading Tiny: 0.5 of 1.0 MB, 10 s left"
    assert downloaded("Tiny", 1e6, 1e6, 10) == "Downloading Tiny: 1.0 of 1.0 MB"


def test_no_code_of_a_repository_is_ever_trusted() -> None:
    for file in [*(ROOT / "ovis_app").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), ROOT / "app.py"]:
        assert "trust_remote_code=True" not in file.read_text(encoding="utf-8").replace(" ", ""), file
