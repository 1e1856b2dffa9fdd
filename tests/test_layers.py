"""Imports go down: the map of docs/architecture.md, held by reading every import in the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "ovis_app"

MAY_IMPORT: dict[str, set[str]] = {
    "settings": set(),
    "limits": set(),
    "bundled": set(),
    "frozen_imports": set(),
    "conversation": set(),
    "generation": {"conversation", "zoo"},  # zoo for a type only
    "zoo": {"generation", "bundled"},
    "media": {"conversation", "limits"},
    "models": {"conversation", "generation", "zoo", "media", "checkpoints"},
    "checkpoints": {"conversation", "generation", "zoo", "media", "models"},
    "engine": {"conversation", "generation", "zoo", "models", "checkpoints"},
    "backends": {"conversation", "generation", "zoo", "chat", "media", "limits", "models", "checkpoints", "engine"}
    | {"settings", "frozen_imports"},
    "chat": {"conversation", "generation"},
    "ui": {"conversation", "generation", "zoo", "chat", "media", "limits", "settings", "bundled"},
    "training": {"conversation", "generation", "zoo", "media", "limits", "models", "checkpoints", "engine", "backends"}
    | {"chat", "settings"},
    "batch_files": {"conversation", "media", "limits"},
    "cli": {"batch_files", "conversation", "generation", "zoo", "chat", "media", "limits", "settings", "backends"}
    | {"serve"},
    "serve": {"settings", "frozen_imports", "generation", "backends", "media", "ui"},
    "__main__": {"cli"},
}
ONLY_IN = {
    "gradio": {"ui", "api"},
    "torch": {"models", "checkpoints", "engine", "backends", "training"},
    "transformers": {"models", "checkpoints", "engine", "backends", "training"},
    "av": {"media", "training"},
}


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            if node.module == "ovis_app":
                yield from (f"ovis_app.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def layer(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_down(file: Path) -> None:
    here = layer(file)
    if here == "__init__":
        return
    assert here in MAY_IMPORT, f"{here} is not on the map"
    for name in imports(file):
        parts = name.split(".")
        if parts[0] == "ovis_app" and len(parts) > 1 and parts[1] != here:
            assert parts[1] in MAY_IMPORT[here], f"{here} must not import {name}"
        if parts[0] in ONLY_IN:
            assert here in ONLY_IN[parts[0]], f"{here} must not import {name}"


@pytest.mark.parametrize("module", ["ovis_app.ui.page", "ovis_app.backends.fake", "ovis_app.chat"])
def test_importing_loads_neither_torch_nor_transformers(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'av') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert out.stdout.strip() == "[]"
