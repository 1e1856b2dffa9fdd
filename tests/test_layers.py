"""Imports go down: the map of docs/architecture.md, held by reading every import in the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "ovis_app"

VALUES = {"errors", "stop", "stop_strings", "turns", "limits", "conversation", "places", "generation", "outcomes"}
VALUES |= {"sight", "request_id"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "stop": set(),
    "stop_strings": set(),
    "turns": set(),
    "bounded_process": set(),
    "bundled": set(),
    "frozen_imports": set(),
    "endings": set(),
    "private_folder": set(),
    "conversation": set(),
    "setting_values": set(),
    "places": {"conversation"},
    "sight": set(),
    "limits": {"errors"},
    "settings": {"limits", "setting_values"},
    "accounts": {"errors"},
    "request_id": set(),
    "generation": {"conversation", "errors", "request_id", "stop"},
    "outcomes": {"conversation", "errors", "generation", "request_id"},
    "logs": {"outcomes", "request_id"},
    "zoo": {"conversation", "errors", "generation", "bundled"},
    "backend": {"errors", "generation", "sight", "zoo"},
    "kept_examination": {"backend"},
    "chat": {"backend", *VALUES},
    "wishes": {"backend", "zoo"},
    "media": {"bounded_process", "private_folder", *VALUES},
    "named_files": {"errors"},
    "proxies": {"errors"},
    "prompt_template": {"errors", "generation"},
    "json_answers": {"conversation", "errors"},
    "json_check": {"bounded_process", "errors", "json_answers"},
    "batch_tables": {"errors", "named_files"},
    "batch_turns": {"errors", "named_files", "places"},
    "batch_rows": {"batch_tables", "batch_turns", "named_files", "prompt_template", "media", *VALUES},
    "batch_files": {"batch_rows", "named_files", "media", "private_folder", *VALUES},
    "reading": {"batch_files", "named_files", "media", "private_folder", *VALUES},
    "models": {"zoo", "media", *VALUES},
    "checkpoints": {"zoo", "media", "models", "named_files", "private_folder", *VALUES},
    "engine": {"zoo", "models", "checkpoints", *VALUES},
    "backends": {"backend", "zoo", "chat", "media", "models", "checkpoints", "engine", "settings", "frozen_imports"}
    | {"kept_examination"}
    | VALUES,
    "api": {"logs", "backend", "zoo", "chat", "media", "private_folder", "settings", *VALUES},
    "ui": {"api", "backend", "zoo", "chat", "media", "settings", "accounts", "bundled", "private_folder", *VALUES}
    | {"batch_rows", "batch_tables", "json_check", "prompt_template", "reading", "wishes"},
    "training": {"zoo", "media", "models", "checkpoints", "engine", "backends", "chat", "settings", *VALUES}
    | {"batch_tables", "batch_turns", "named_files", "private_folder", "endings"},
    "doctor": {"zoo", "media", "models", "checkpoints", "engine", "backends", "settings", *VALUES}
    | {"backend", "bounded_process", "bundled", "kept_examination"},
    "serve": {"backend", "backends", "doctor", "api", "ui", "settings", "proxies", "frozen_imports", "private_folder"}
    | {"bounded_process", "endings", "logs"}
    | VALUES,
    "cli": {"accounts", "backend", "zoo", "chat", "media", "settings", "checkpoints", "backends", "training", "serve"}
    | {"doctor", "kept_examination"}
    | VALUES
    | {"batch_files", "batch_rows", "json_answers", "named_files", "private_folder", "prompt_template", "proxies"}
    | {"reading", "wishes", "endings", "bounded_process"},
    "__main__": {"cli", "endings"},
}
WITH_TORCH = {"models", "checkpoints", "engine", "backends/local", "doctor", "training"}
ONLY_IN = {
    "gradio": {"ui", "api"},
    "av": {"media", "training"},
    "pypdfium2": {"media/document_decoder.py"},
    "triton": {f"engine/fused/{name}_kernels.py" for name in ("triton", "attention", "expert")},
    "openai": {"backends/remote"},
    "prometheus_client": {"api/metrics.py"},
    "httpx2": {"backends/remote", "checkpoints"},
    "peft": {"training"},
    **dict.fromkeys(
        ("torch", "transformers", "tokenizers", "accelerate", "huggingface_hub", "bitsandbytes"), WITH_TORCH
    ),
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
        path = file.relative_to(ROOT).as_posix()
        if parts[0] in ONLY_IN:
            assert any(path == at or path.startswith(f"{at}/") for at in ONLY_IN[parts[0]]), (
                f"{path} must not import {name}"
            )


def test_imports_have_no_circles() -> None:
    """Also those for types alone, and those within a function."""
    files = {module(file): file for file in ROOT.rglob("*.py")}
    graph = {name: {known for asked in names(file) if (known := nearest(asked, files))} for name, file in files.items()}
    order = TopologicalSorter({name: needed - {name} for name, needed in graph.items()})
    order.prepare()  # raises CycleError, which names the modules


def test_the_tree_in_the_documentation_names_every_file() -> None:
    text = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = text.split("```")[1]
    told = set(re.findall(r"[\w.]+\.py", tree))
    there = {file.name for file in ROOT.rglob("*.py") if file.name != "__init__.py"}
    assert there - told == set(), "not in the tree"
    outside = {"app.py", *(file.name for file in (ROOT.parent / "tools").glob("*.py"))}
    assert told - there == outside - {"__init__.py"}, "in the tree alone"


def test_the_table_in_the_documentation_has_every_layer_once() -> None:
    text = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.split("| layer | may import |")[1].split("\n\n")[0]
    told = [name for row in table.splitlines()[2:] for name in row.split("|")[1].strip().split(", ")]
    assert sorted(told) == sorted(MAY_IMPORT.keys() - {"__main__"})
    [values] = re.findall(r"The values are (.*)\.\n", text)
    assert set(re.split(", | and ", values)) == VALUES


def module(file: Path) -> str:
    return ".".join(("ovis_app", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def names(file: Path) -> Iterator[str]:
    """What a file imports, as far as `from` says it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def nearest(name: str, files: Collection[str]) -> str | None:
    """The module that a dotted name is, or is a name of."""
    return next((known for known in (name, name.rpartition(".")[0]) if known in files), None)


def test_importing_loads_neither_torch_nor_transformers() -> None:
    """One after another, the lightest first, so that what is loaded names who did it."""
    modules = ("ovis_app.chat", "ovis_app.backends.fair_queue", "ovis_app.backends.remote.beside",
               "ovis_app.api.openai.routes", "ovis_app.ui.page")  # fmt: skip
    code = f"""
import importlib, sys
for name in {modules}:
    importlib.import_module(name)
    print(name, [heavy for heavy in ("torch", "transformers", "av") if heavy in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert out.stdout.splitlines() == [f"{name} []" for name in modules]
