"""Versions are held: each bound has one home, and the lock suits every machine."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest
from huggingface_hub import metadata_load
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools.lock import OF_A_GPU, UV, Project, unbounded

ROOT = Path(__file__).parent.parent
PROJECT = Project.read()
SPACE = metadata_load(ROOT / "README.md") or {}
OPTIONAL = {"triton"}  # used where a torch for CUDA has brought it
PYTHONS = ("3.11", "3.12", "3.13")


def rows(name: str) -> list[str]:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    return [line for line in lines if not line.startswith(("#", "-r "))]


def locked() -> dict[str, list[Requirement]]:
    """What both locks say of each package."""
    found: dict[str, list[Requirement]] = {}
    for row in map(Requirement, (*rows("requirements.lock"), *rows("requirements-dev.lock"))):
        found.setdefault(canonicalize_name(row.name), []).append(row)
    return found


def test_requirements_say_what_pyproject_says() -> None:
    assert rows("requirements.txt") == list(PROJECT.everything), "run `make lock`"
    assert rows("requirements-remote.txt") == list(PROJECT.light), "run `make lock`"


@pytest.mark.parametrize("row", (*PROJECT.everything, *PROJECT.training))
def test_every_requirement_has_a_lower_and_an_upper_bound(row: str) -> None:
    operators = sorted(bound.operator for bound in Requirement(row).specifier)
    assert operators in ([">=", "<"], ["<", ">="], ["<=", ">="])


def imported(file: Path) -> Iterator[str]:
    """Names of packages; what a script imports from beside it is none."""
    names = every_import(file)
    return (name for name in names if not file.with_name(f"{name}.py").exists())


def every_import(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


@pytest.mark.parametrize(
    ("folder", "wanted"),
    [
        ("ovis_app", (*PROJECT.everything, *PROJECT.training)),
        ("tools", (*PROJECT.everything, *PROJECT.dev)),
        ("tests", (*PROJECT.everything, *PROJECT.dev)),
    ],
)
def test_what_is_imported_is_required(folder: str, wanted: tuple[str, ...]) -> None:
    ours = {"ovis_app", "tests", "tools", "benchmarks", "app", "kernels"} | OPTIONAL | set(sys.stdlib_module_names)
    homes, named = packages_distributions(), {canonicalize_name(Requirement(row).name) for row in wanted}
    for module in {name for file in (ROOT / folder).rglob("*.py") for name in imported(file)} - ours:
        assert named & {canonicalize_name(home) for home in homes[module]}, f"{module} is imported, not required"


def test_what_trains_is_tried_with_the_bounds_that_are_said() -> None:
    assert set(PROJECT.training) <= set(PROJECT.dev)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_lock_names_exact_versions_and_no_place_to_get_them_from(name: str) -> None:
    for line in rows(name):
        row = Requirement(line)
        assert row.url is None and [bound.operator for bound in row.specifier] == ["=="]
        assert not any(sign in line for sign in ("*", "+", "--hash", "--index-url", "://"))
        assert not OF_A_GPU.match(line) or (row.name, name) == ("triton", "requirements-dev.lock")


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_keeps_to_the_bounds_and_names_one_version_for_each_python(python: str) -> None:
    where = {"python_version": python, "python_full_version": f"{python}.5", "sys_platform": "linux"}
    lock = locked()
    for row in map(Requirement, (*PROJECT.everything, *PROJECT.dev)):
        if row.marker and not row.marker.evaluate(where):
            continue
        (pin,) = [one for one in lock[canonicalize_name(row.name)] if not one.marker or one.marker.evaluate(where)]
        assert str(pin.specifier).removeprefix("==") in row.specifier, f"{pin} is outside of {row}: run `make lock`"


def test_whatever_comes_along_is_in_the_lock() -> None:
    """As the packages say that are installed here: nothing is left to what is the newest on the day of an install."""
    lock, asked = locked(), 0
    extras = {canonicalize_name(row.name): row.extras for row in map(Requirement, PROJECT.everything)}
    for package in distributions():
        name = canonicalize_name(package.name)
        if not any(pin.specifier.contains(package.version) for pin in lock.get(name, ())):
            continue  # a trial of other versions
        asked += 1
        for need in map(Requirement, package.requires or ()):
            wanted = any(not need.marker or need.marker.evaluate({"extra": x}) for x in ("", *extras.get(name, ())))
            known = canonicalize_name(need.name) in lock or OF_A_GPU.match(f"{need.name}=")
            assert not wanted or known, f"{name} needs {need.name}, which is in no lock: run `make lock`"
    assert asked > 80


def test_a_trial_of_the_latest_keeps_only_the_bounds_that_have_a_reason() -> None:
    latest = {canonicalize_name(row.name): row.specifier for row in map(Requirement, PROJECT.latest())}
    assert "5.99" in latest["transformers"] and "5.22" not in latest["transformers"]
    assert "99" in latest["numpy"] and "12.0" not in latest["pillow"] and "2.14" not in latest["torch"]
    assert str(unbounded(Requirement("one[two]>=1,<2"))) == "one[two]>=1"


@pytest.mark.parametrize(("python", "last"), [("3.11", "2.13.0"), ("3.12", "2.11.0"), ("3.13", "2.11.0")])
def test_requirements_alone_bring_the_torch_of_each_python(python: str, last: str) -> None:
    """Beside what a Space installs of its own; on ZeroGPU that is Python 3.12 with torch 2.8 to 2.11."""
    own = [f"gradio[oauth,mcp]=={SPACE['sdk_version']}", "uvicorn>=0.14.0", "websockets>=10.4", "spaces"]
    wanted = "\n".join([*own, *rows("requirements.txt")])
    command = [UV, "pip", "compile", "-", "--python-version", python, "--no-header", "--no-annotate", "--quiet"]
    environment = {**os.environ, "UV_HTTP_RETRIES": "0"}
    done = subprocess.run(command, input=wanted, capture_output=True, text=True, check=False, env=environment)
    if done.returncode and any(word in done.stderr for word in ("Failed to fetch", "error sending request")):
        pytest.skip("the package index can't be reached")
    assert done.returncode == 0, done.stderr
    (torch,) = [line for line in done.stdout.splitlines() if line.startswith("torch==")]
    assert Version("2.8") <= Version(torch.removeprefix("torch==")) <= Version(last)
