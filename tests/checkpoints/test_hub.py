"""From a repository to a folder, against a hub on this machine: whole, ended, resumed, refused with a sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ovis_app import zoo
from ovis_app.checkpoints import hub
from ovis_app.checkpoints.hub import downloaded
from tests.checkpoints.hub_server import COMMIT, Hub, serve
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKPOINT = ROOT / "tests" / "fixtures" / "golden" / "ovis2.5" / "public-a" / "checkpoint"
REPOSITORY = "someone/Tiny-Ovis"
SIZE = (CHECKPOINT / "model.safetensors").stat().st_size

# Fetches repositories, one after another; with a share, cancels as soon as that much is there.
FETCH = """
import json, os, sys
from ovis_app import zoo
from ovis_app.errors import BackendError
from ovis_app.checkpoints import hub
class Enough(Exception): pass
cancel, *names = sys.argv[1:]
def progress(words, share):
    heard.append((words, share))
    if cancel and (share is not None or cancel == "0"):
        raise Enough("enough")
for name in names:
    heard = []
    try:
        folder = hub.folder_of(zoo.resolve(name), progress)
        files = {p.name: p.stat().st_size for p in folder.iterdir()}
        print(json.dumps({"files": files, "heard": heard[-1:], "commit": folder.name}))
    except BackendError as error:
        print(json.dumps({"error": str(error)}))
    except Enough as error:
        try:
            os.waitpid(-1, os.WNOHANG)
            children = True
        except ChildProcessError:
            children = False
        print(json.dumps({"cancelled": str(error), "children": children}))
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


def environment(hub: Hub, home: Path, **more: str) -> dict[str, str]:
    """Nothing of the hub's settings but what the test says."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return {**clean, **settings, **more}


def fetch(hub: Hub, home: Path, name: str = REPOSITORY, *, cancel: str = "", **more: str) -> dict[str, object]:
    """What a process of its own finds, with nothing in its cache but what earlier calls left."""
    (found,) = fetch_each(hub, home, name, cancel=cancel, **more)
    return found


def fetch_each(hub: Hub, home: Path, *names: str, cancel: str = "", **more: str) -> list[dict[str, object]]:
    """The same of several, one after another in one process."""
    done = subprocess.run(
        [sys.executable, "-c", FETCH, cancel, *names],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(hub, home, **more),
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return [dict(json.loads(line)) for line in done.stdout.splitlines()]


def weights(found: dict[str, object]) -> object:
    """The size of the weights that came."""
    files = found.get("files")
    assert isinstance(files, dict), found
    return files["model.safetensors"]


def half_written(home: Path) -> list[Path]:
    """What is half there. os.walk, since folders come and go while another process downloads, which rglob takes ill."""
    return [Path(folder, name) for folder, _, names in os.walk(home) for name in names if name.endswith(".incomplete")]


def test_weights_come_and_code_stays(repository: Path, tmp_path: Path) -> None:
    with serve(Hub(REPOSITORY, repository)) as hub:
        found = fetch(hub, tmp_path / "home")
        files = found["files"]
        assert isinstance(files, dict) and weights(found) == SIZE
        assert "config.json" in files and "tokenizer.json" in files
        assert not [name for name in files if name.endswith((".py", ".bin"))]
        assert not [path for _, path, _ in hub.asked if path.endswith((".py", ".bin"))]
        ((words, share),) = found["heard"]  # type: ignore[misc, attr-defined]
        assert words.startswith("Downloading Tiny-Ovis: ") and share == 1.0
        hub.asked.clear()
        again = fetch(hub, tmp_path / "home", HF_HUB_OFFLINE="1")
        assert again["files"] == files and hub.asked == []


def test_a_download_that_died_is_whole_at_the_next_try(repository: Path, tmp_path: Path) -> None:
    """One sentence at first; then what is missing comes, and nothing half-written is taken for whole."""
    with serve(Hub(REPOSITORY, repository, cut=300_000)) as hub:
        first = fetch(hub, tmp_path / "home", HF_HUB_DOWNLOAD_TIMEOUT="2")
        assert "try again" in str(first["error"])
        hub.cut = None
        hub.asked.clear()
        assert weights(fetch(hub, tmp_path / "home")) == SIZE
        fetched = {path.rpartition("/")[2] for method, path, _ in hub.asked if method == "GET" and "/resolve/" in path}
    assert fetched == {"model.safetensors"}


@pytest.mark.parametrize("when", ["0", "1"], ids=["while it looks", "while bytes flow"])
def test_progress_may_end_a_download(repository: Path, tmp_path: Path, when: str) -> None:
    """What it raised comes through, the downloader is gone, nothing half-written stays, and the next try works."""
    with serve(Hub(REPOSITORY, repository, pace=SIZE // 20)) as hub:
        found = fetch(hub, tmp_path / "home", cancel=when)
        assert found == {"cancelled": "enough", "children": False}
        assert half_written(tmp_path / "home") == []
        assert not list((tmp_path / "home").rglob("model.safetensors"))
        hub.pace = 0
        assert weights(fetch(hub, tmp_path / "home")) == SIZE


def test_what_another_process_is_fetching_stays(repository: Path, tmp_path: Path) -> None:
    """A download that is cancelled removes its own half-written file, not one that has appeared beside it since."""
    home = tmp_path / "home"
    with serve(Hub(REPOSITORY, repository, pace=SIZE // 60)) as hub:
        process = started(hub, home, "-c", FETCH, "", REPOSITORY)
        while not half_written(home):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        other = half_written(home)[0].with_name("bb.22222222.incomplete")
        other.write_bytes(b"half")
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        assert half_written(home) == [other]


def test_of_a_process_that_is_killed_nothing_half_written_stays(repository: Path, tmp_path: Path) -> None:
    """No try goes on with it, and of a large model it may be many gigabytes."""
    home = tmp_path / "home"
    with serve(Hub(REPOSITORY, repository, pace=SIZE // 60)) as hub:
        process = started(hub, home, "-c", FETCH, "", REPOSITORY)
        until(lambda: half_written(home))
        process.kill()
        until(lambda: not half_written(home), "it stayed")
        process.communicate(timeout=PATIENCE)
        hub.pace = 0
        assert weights(fetch(hub, home)) == SIZE


def test_the_downloader_is_ended_whoever_still_refers_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    def messages(repository: str, revision: str) -> Iterator[dict[str, object]]:
        try:
            while True:
                yield {}
        finally:
            ended.append(repository)

    running = messages(REPOSITORY, "")
    monkeypatch.setattr(hub, "_messages", lambda *_: running)
    heard = iter([None, KeyError("enough")])

    def progress(words: str, share: float | None) -> None:
        error = next(heard)
        if error:
            raise error

    with pytest.raises(KeyError, match="enough"):
        hub.folder_of(zoo.resolve(REPOSITORY), progress)
    assert ended == [REPOSITORY]


@pytest.mark.parametrize("name", [f"{REPOSITORY}@{COMMIT}", f"{REPOSITORY}@main"])
def test_a_revision_is_named_behind_the_repository(repository: Path, tmp_path: Path, name: str) -> None:
    with serve(Hub(REPOSITORY, repository)) as hub:
        found, unknown = fetch_each(hub, tmp_path / "home", name, f"{REPOSITORY}@v9")
        assert weights(found) == SIZE and found["commit"] == COMMIT
        assert "no such revision" in str(unknown["error"])


BOTH = ("AIDC-AI/Tiny-Ovis", "ATH-MaaS/Tiny-Ovis")


@pytest.mark.parametrize("here", BOTH)
def test_what_is_here_under_either_name_of_the_organisation_is_found(
    repository: Path, tmp_path: Path, here: str
) -> None:
    """Fetched from a hub that knows one of the names alone; then both find it, with and without a network."""
    with serve(Hub(here, repository)) as hub:
        found = fetch_each(hub, tmp_path / "home", here, *BOTH, f"{BOTH[0]}@{COMMIT}")
        assert [weights(each) for each in found] == [SIZE] * 4
        assert len([path for method, path, _ in hub.asked if method == "GET" and "model.safetensors" in path]) == 1
        hub.asked.clear()
        names = (*BOTH, *(f"{name}@{COMMIT}" for name in BOTH), "ath-maas/Tiny-Ovis")
        again = fetch_each(hub, tmp_path / "home", *names, HF_HUB_OFFLINE="1")
        assert [weights(each) for each in again] == [SIZE] * 5
        assert hub.asked == []


def test_a_repository_that_moved_is_fetched_once(repository: Path, tmp_path: Path) -> None:
    """The hub redirects the first name to the second, and somebody has the second already."""
    with serve(Hub(BOTH[1], repository, former=BOTH[0])) as hub:
        assert weights(fetch(hub, tmp_path / "new", BOTH[0])) == SIZE
        copy = "from huggingface_hub import snapshot_download; snapshot_download('ATH-MaaS/Tiny-Ovis')"
        subprocess.run([sys.executable, "-c", copy], env=environment(hub, tmp_path / "old"), check=True, timeout=120)
        hub.asked.clear()
        assert [weights(each) for each in fetch_each(hub, tmp_path / "old", *BOTH)] == [SIZE] * 2
        assert not [path for method, path, _ in hub.asked if method == "GET" and "/resolve/" in path]


def test_an_unknown_repository_is_named(repository: Path, tmp_path: Path) -> None:
    with serve(Hub(REPOSITORY, repository)) as hub:
        names = ("someone/Other", f"someone/{'x' * 300}", "ATH-MaaS/Ovis9-3B")
        for found in fetch_each(hub, tmp_path / "home", *names):
            assert "check the spelling" in str(found["error"])


def test_a_gated_repository_needs_a_token(repository: Path, tmp_path: Path) -> None:
    with serve(Hub(REPOSITORY, repository, token="hf_mine")) as hub:
        assert "accept its terms" in str(fetch(hub, tmp_path / "home")["error"])
        assert weights(fetch(hub, tmp_path / "home", HF_TOKEN="hf_mine")) == SIZE


def test_no_network_is_one_sentence(repository: Path, tmp_path: Path) -> None:
    hub = Hub(REPOSITORY, repository, url="http://127.0.0.1:9")
    assert "check the network" in str(fetch(hub, tmp_path / "home")["error"])
    assert "HF_HUB_OFFLINE" in str(fetch(hub, tmp_path / "home", HF_HUB_OFFLINE="1")["error"])


def test_pickled_weights_are_refused_before_any_download(repository: Path, tmp_path: Path) -> None:
    (repository / "model.safetensors").unlink()
    with serve(Hub(REPOSITORY, repository)) as hub:
        assert "pickled weights" in str(fetch(hub, tmp_path / "home")["error"])
        assert not [path for _, path, _ in hub.asked if "/resolve/" in path]
        (repository / "pytorch_model.bin").unlink()
        assert "no .safetensors weights" in str(fetch(hub, tmp_path / "home")["error"])


def test_a_repository_without_a_config_is_no_model(repository: Path, tmp_path: Path) -> None:
    (repository / "config.json").unlink()
    with serve(Hub(REPOSITORY, repository)) as hub:
        assert "no config.json" in str(fetch(hub, tmp_path / "home")["error"])
        assert not [path for _, path, _ in hub.asked if "/resolve/" in path]


FULL_AT_ONCE = """
import shutil
shutil.disk_usage = lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
"""
FULL_MIDWAY = """
import errno, pathlib
whole = pathlib.Path.open
class Full:
    def __init__(self, file): self.file, self.room = file, 200_000
    def __enter__(self): return self
    def __exit__(self, *_): self.file.close()
    def __getattr__(self, name): return getattr(self.file, name)
    def write(self, data):
        self.room -= len(data)
        if self.room < 0: raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)
def opened(self, mode="r", *rest, **more):
    file = whole(self, mode, *rest, **more)
    return Full(file) if self.name.endswith(".incomplete") and "w" in mode else file
pathlib.Path.open = opened
"""


@pytest.mark.parametrize(
    ("patch", "said"), [(FULL_AT_ONCE, "GB on the disk and 0.0 GB are free"), (FULL_MIDWAY, "disk is too full")]
)
def test_a_full_disk_is_one_sentence(repository: Path, tmp_path: Path, patch: str, said: str) -> None:
    (tmp_path / "patched").mkdir()
    (tmp_path / "patched" / "sitecustomize.py").write_text(patch)
    with serve(Hub(REPOSITORY, repository)) as hub:
        error = str(fetch(hub, tmp_path / "home", PYTHONPATH=str(tmp_path / "patched"))["error"])
        assert said in error and "HF_HOME" in error and str(tmp_path) not in error
        assert half_written(tmp_path / "home") == []
        assert weights(fetch(hub, tmp_path / "home")) == SIZE


def test_a_folder_of_downloads_that_cannot_be_made_is_one_sentence(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with serve(Hub(REPOSITORY, repository)) as hub:
        error = str(fetch(hub, tmp_path / "file" / "home")["error"])
        assert "check its permissions" in error and "HF_HOME" in error and str(tmp_path) not in error
        assert weights(fetch(hub, tmp_path / "home")) == SIZE


def test_what_a_killed_download_left_is_tidied_up(repository: Path, tmp_path: Path) -> None:
    """Half-written files that nobody has touched for long go; one that another process may be writing stays."""
    blobs = tmp_path / "home" / "hub" / "models--someone--Tiny-Ovis" / "blobs"
    blobs.mkdir(parents=True)
    old, new = blobs / "aa.11111111.incomplete", blobs / "bb.22222222.incomplete"
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    with serve(Hub(REPOSITORY, repository)) as hub:
        assert weights(fetch(hub, tmp_path / "home")) == SIZE
    assert half_written(tmp_path / "home") == [new]


def started(hub: Hub, home: Path, *words: str) -> subprocess.Popen[str]:
    """A process that downloads and can be interrupted as a terminal does it: the signal goes to its whole group."""
    return subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(hub, home, OVIS_DEVICE="cpu"),
        process_group=0,
        preexec_fn=partial(
            signal.signal, signal.SIGINT, signal.SIG_DFL
        ),  # jobs in the background start with it ignored
    )


def test_ctrl_c_ends_a_download_with_a_line(repository: Path, tmp_path: Path) -> None:
    words = ("-m", "ovis_app", "ask", "Hi", "--model", REPOSITORY, "--max-new-tokens", "4")
    with serve(Hub(REPOSITORY, repository, pace=SIZE // 60)) as hub:
        process = started(hub, tmp_path / "home", *words)
        while not any(path.endswith("model.safetensors") for method, path, _ in hub.asked if method == "GET"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, errors) == (130, "", "ovis_app: stopped.\n")
        assert half_written(tmp_path / "home") == []
        hub.pace = 0
        assert weights(fetch(hub, tmp_path / "home")) == SIZE


def test_progress_is_told_in_bytes_and_time() -> None:
    assert downloaded("Ovis2.5-2B", 1.2e9, 5.1e9, 60) == "Downloading Ovis2.5-2B: 1.2 of 5.1 GB, 3 min left"
    assert downloaded("Tiny", 5e5, 1e6, 10) == "Downloading Tiny: 0.5 of 1.0 MB, 10 s left"
    assert downloaded("Tiny", 1e6, 1e6, 10) == "Downloading Tiny: 1.0 of 1.0 MB"


def test_no_code_of_a_repository_is_ever_trusted() -> None:
    """Wherever the word stands in code, False stands behind it."""
    found = 0
    for file in [*(ROOT / "ovis_app").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), ROOT / "app.py"]:
        for line in file.read_text(encoding="utf-8").replace(" ", "").splitlines():
            for rest in line.split("trust_remote_code")[1:]:
                assert rest.startswith("=False"), f"{file}: {line}"
                found += 1
    assert found >= 3
