"""The wheel: everything that is needed is in it, it works from any folder, and without the extra it stays light."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What the extra `local` brings and nothing else does.
HEAVY = (
    "accelerate",
    "bitsandbytes",
    "moviepy",
    "psutil",
    "safetensors",
    "spaces",
    "tokenizers",
    "torch",
    "transformers",
)
CALL = """
import sys
sys.modules.update(dict.fromkeys({absent!r}))
sys.argv[0] = "ovis"
import ovis_app.cli
assert "{home}" in ovis_app.__file__, ovis_app.__file__
sys.exit(ovis_app.cli.main())
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def ovis(unpacked: Path, *words: str, absent: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The command as an installation has it, called in another folder."""
    code = CALL.format(absent=absent, home=unpacked)
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=unpacked.parent, env=environment)


def test_every_file_of_the_package_is_in_the_wheel(unpacked: Path) -> None:
    listed = ["git", "ls-files", "-co", "--exclude-standard", "ovis_app", "assets/examples", "assets/ovis-mini"]
    tracked = subprocess.run(listed, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
    wanted = {name.replace("assets/", "ovis_app/assets/", 1) for name in tracked if (ROOT / name).exists()}
    there = {str(file.relative_to(unpacked)) for file in unpacked.rglob("*") if file.is_file()}
    assert {name for name in there if ".dist-info/" not in name} == wanted
    assert {"ovis_app/ui/static/page.js", "ovis_app/assets/examples/shapes.png"} <= there


def test_its_metadata_says_what_is_light_and_what_local_adds(unpacked: Path) -> None:
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    needs = [line for line in metadata.read_text("utf-8").splitlines() if line.startswith("Requires-Dist:")]
    heavy = [line for line in needs if line.split()[1].startswith(HEAVY)]
    assert all(any(f"extra == '{name}'" in line for name in ("local", "finetune")) for line in heavy)
    assert sum("extra == 'local'" in line for line in needs) >= len(HEAVY)


def test_the_bundled_model_answers_in_another_folder(unpacked: Path) -> None:
    picture = unpacked / "ovis_app" / "assets" / "examples" / "left.png"
    done = ovis(unpacked, "How many shapes are there?", "--image", str(picture))
    assert done.returncode == 0 and "shape" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--help"], "usage: ovis "), (["models"], "Ovis2.5-2B"), (["Hi", "--backend", "fake"], "You said: Hi"),
     (["serve", "--help"], "usage: ovis serve ")],
)  # fmt: skip
def test_without_the_extra_what_needs_no_model_works(unpacked: Path, words: list[str], said: str) -> None:
    done = ovis(unpacked, *words, absent=HEAVY)
    assert done.returncode == 0 and said in done.stdout, done.stderr


def test_without_the_extra_the_page_opens_with_its_examples(unpacked: Path) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY}))\n"
        "from ovis_app import serve\nfrom ovis_app.settings import Settings\n"
        "page, options, _ = serve.open_page(Settings(backend='fake'))\n"
        "from ovis_app.ui.components import EXAMPLES\nfrom ovis_app.ui.static_files import StaticFiles\n"
        "assert 'examples/shapes.png' in StaticFiles.of(EXAMPLES).files and '<style>' in options['head']"
    )
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=unpacked.parent, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["How many?"], ["batch", ".", "--prompt", "x", "--out", "a.jsonl"], ["serve"]])
def test_without_the_extra_a_model_here_is_one_sentence_that_says_what_to_install(
    unpacked: Path, words: list[str]
) -> None:
    done = ovis(unpacked, *words, absent=HEAVY)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "pip install 'ovis-app[local]'" in done.stderr
