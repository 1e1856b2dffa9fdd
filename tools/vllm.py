"""Makes an environment with vLLM for its tests and its benchmark: `python -m tools.vllm .venv-vllm`.

The version stands in pyproject.toml, in a group of its own, since it wants other packages than this project: 2.5 GB.
Where it can't be installed one line says so, and what needs it is skipped. Refuses to know what is done with it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tools.install import ROOT, UNFINISHED, install

# What comes along in builds for CUDA, which fail where there is none; vLLM does without.
LEFT_OUT = ("torchvision", "torchaudio", "torchcodec", "triton")
FAILED = (
    "vLLM couldn't be installed, so what needs it is skipped. It takes PyTorch's build for processors alone, which "
    "isn't on PyPI: PIP_EXTRA_INDEX_URL names an index that has it."
)


def group() -> list[str]:
    """The requirements."""
    rows: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]["vllm"]
    return rows


def made(folder: Path) -> bool:
    """Fills the environment in `folder`, if it isn't yet; whether it has vLLM then."""
    if any(folder.glob("lib*/python*/site-packages/vllm/__init__.py")) and not (folder / UNFINISHED).exists():
        return True
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as wanted:
        wanted.write("\n".join(group()))
        wanted.flush()
        if install(folder, Path(wanted.name), project=False):
            return False
    (folder / UNFINISHED).touch()  # until what must not stay is gone
    command = [str(folder / "bin" / "python"), "-m", "pip", "uninstall", "-qq", "--yes", *LEFT_OUT]
    subprocess.run(command, check=True)
    (folder / UNFINISHED).unlink()
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.vllm", description="Make an environment with vLLM.")
    parser.add_argument("folder", type=Path)
    if not made(parser.parse_args().folder):
        print(FAILED, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
