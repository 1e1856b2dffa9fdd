"""Two runs that are to write the same: the second ends before it writes anything, unless the first one was killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ovis_app.cli import main

ROOT = Path(__file__).parent.parent
PICTURE = str(ROOT / "assets" / "examples" / "word.png")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")

# A run that is asked to answer, and does nothing but that.
HELD = """
import sys, time
from ovis_app.backends.fake import FakeBackend
from ovis_app.cli import main
def stream(self, request):
    print("asked", flush=True)
    time.sleep(600)
    yield
FakeBackend.stream = stream
main(sys.argv[1:])
"""


def written(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(
    ("words", "out", "said"),
    [
        (
            ("batch", "rows.jsonl"),
            "answers.csv",
            "Another run writes into answers.csv now: wait until it ends",
        ),
        (("read", PICTURE), "pages", "Another run reads into the folder pages now: wait until it ends"),
    ],
)
def test_the_second_of_two_runs_writes_nothing_and_a_killed_one_is_in_nobodys_way(
    words: Sequence[str], out: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "rows.jsonl").write_text('{"prompt": "What?"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [*words, "--out", out, "--backend", "fake"]
    with subprocess.Popen(
        [sys.executable, "-c", HELD, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as first:
        try:
            assert first.stdout is not None and first.stdout.readline() == "asked\n"
            before = written(tmp_path)
            assert main(command) == 2 and said in capsys.readouterr().err
            assert written(tmp_path) == before
        finally:
            first.kill()
    assert main(command) == 0
