"""The page's own modules, tested by node where there is one; what they are made of, everywhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from ovis_app.ui.page import EXAMPLES
from ovis_app.ui.static_files import STATIC, StaticFiles
from tests.ui.serving import Served
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
TESTS = sorted((ROOT / "tests" / "page_js").glob("*.test.mjs"))
MODULES = sorted((STATIC / "page").glob("*.mjs"))


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_the_modules_do_what_their_tests_say(file: Path) -> None:
    node = shutil.which("node")
    if node is None:
        if os.environ.get("CI") == "true":
            pytest.fail("node is not installed")
        pytest.skip("node is not installed")
    done = subprocess.run([node, "--test", file], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def test_every_module_begins_with_what_it_knows_and_imports_what_is_there() -> None:
    static = StaticFiles.of(EXAMPLES)
    for file in MODULES:
        text = file.read_text("utf-8")
        words = file.name.startswith("zh")  # a dictionary is as long as what is said
        assert text.startswith("// ") and (words or len(text.splitlines()) <= 450), file.name
        for name in re.findall(r'(?:from\s+|import\s*\(?)"([^"]+)"', text):
            assert name.startswith((".", "..")), f"{file.name} asks elsewhere for {name}"
            found = (file.parent / name).resolve()
            assert found.relative_to(STATIC).as_posix() in static.files, f"{file.name}: {name}"


def test_every_library_has_its_licence_beside_it() -> None:
    for file in (STATIC / "vendor").glob("*.js"):
        licence = file.with_name(file.name.partition(".")[0] + ".LICENSE")
        assert licence.stat().st_size > 500, file.name


def test_the_pages_own_files_are_kept_for_ever_and_another_version_is_told(server: Served) -> None:
    static = StaticFiles.of(EXAMPLES)
    http = httpx.Client(base_url=server.url, timeout=PATIENCE)
    for name in ("page/main.mjs", "vendor/purify.min.js", "examples/shapes.png", "examples/clip.mp4"):
        if name in static.files:
            said = http.get(static.base + name)
            assert said.status_code == 200 and "immutable" in said.headers["cache-control"], name
            assert said.headers["x-content-type-options"] == "nosniff"
    assert http.get(static.base + "page/main.mjs").headers["content-type"].startswith("text/javascript")
    other = http.get("page/0123456789ab/page/main.mjs")
    assert other.status_code == 404 and "reload" in other.text
    for name in (
        "page.css",
        "page/../page.css",
        "page/%2e%2e/page.css",
        "sign_in.html",
        "vendor/purify.LICENSE",
        "page/",
    ):
        assert http.get(static.base + name).status_code == 404, name
    http.close()
