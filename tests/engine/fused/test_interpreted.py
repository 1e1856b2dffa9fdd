"""Triton's kernels compute what they should, found out without a GPU: in its interpreter, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

if sys.platform != "linux":
    pytest.skip("Triton is for Linux", allow_module_level=True)
pytest.importorskip("triton", reason="Triton isn't installed")
if Version(version("triton")) < Version("3.7"):
    pytest.skip("the interpreter of a Triton before 3.7 fails with numpy 2.4", allow_module_level=True)

HERE = Path(__file__).parent
FILES = (HERE / "interpreted.py", HERE / "interpreted_experts.py")


def interpreted(*arguments: str) -> str:
    """What pytest says of both files, run in the interpreter. It needs nothing that other tests share."""
    command = [sys.executable, "-m", "pytest", "--noconftest", "-p", "no:cacheprovider"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    root = HERE.parents[2]
    done = subprocess.run(
        [*command, *map(str, FILES), *arguments], capture_output=True, text=True, check=False, cwd=root, env=environment
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return done.stdout


def test_kernels_and_the_fused_step_in_the_interpreter() -> None:
    assert "skipped" not in interpreted()


@pytest.mark.kernels
def test_all_golden_cases_in_the_interpreter() -> None:
    assert "skipped" not in interpreted("-m", "kernels")
