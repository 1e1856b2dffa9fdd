"""Finds what we use of other packages that they didn't promise to keep. Knows Python's syntax trees and classes.

That is: underscored names that aren't ours; names of modules that their package keeps to itself; functions put in the
place of theirs; underscored names that a class of ours shares with a base of theirs.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PRIVATE = re.compile(r"_(?!_)\w+")
# Modules that no documentation of their package names.
INSIDE = (
    "gradio.processing_utils",
    "gradio.utils",
    "huggingface_hub.file_download",
    "transformers.generation.continuous_batching",
    "transformers.initialization",
)
BY_NAME = {"getattr", "hasattr", "setattr", "delattr"}
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
STDLIB = sys.stdlib_module_names


def private_names(file: Path, package: Path) -> set[str]:
    """What a file of our package uses of others, as it writes it."""
    module = ast.parse(file.read_text("utf-8"))
    dotted = ".".join(file.relative_to(package.parent).with_suffix("").parts)
    return Uses(module).found | shared(dotted, module)


class Uses(ast.NodeVisitor):
    """What a module uses of others, but for what its classes have of their bases."""

    def __init__(self, module: ast.Module) -> None:
        self.found: set[str] = set()
        self.foreign: set[str] = set()  # names that stand for what comes from other packages
        self.ours = set(own(module))
        self.functions = {node.name for node in ast.walk(module) if isinstance(node, FUNCTION)}
        self.visit(module)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(alias.name, alias.asname or alias.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._import(f"{node.module}.{alias.name}", alias.asname or alias.name)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not (isinstance(node.value, ast.Name) and node.value.id in STDLIB):
            self._use(node.attr)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Where attributes are asked for by name, each word is such a name."""
        inner = list(ast.walk(node))
        if any(isinstance(one, ast.Call) and ast.unparse(one.func) in BY_NAME for one in inner):
            for one in inner:
                if isinstance(one, ast.Constant):
                    self._use(str(one.value))
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """A function in the place of another, or whatever in the place of a package's own."""
        function = isinstance(node.value, ast.Lambda) or ast.unparse(node.value) in self.functions
        for target in node.targets:
            whose = ast.unparse(target.value) if isinstance(target, ast.Attribute) else "self"
            if whose != "self" and (function or whose in self.foreign):
                self.found.add(f"{ast.unparse(target)} =")
        self.generic_visit(node)

    def _import(self, name: str, here: str) -> None:
        package, *parts = name.split(".")
        if package not in STDLIB and package != "ovis_app":
            self.foreign.add(here)
            if name.startswith(INSIDE) or any(map(PRIVATE.fullmatch, parts)):
                self.found.add(name)

    def _use(self, name: str) -> None:
        if PRIVATE.fullmatch(name) and name not in self.ours:
            self.found.add(name)


def own(module: ast.Module) -> Iterator[str]:
    """What a module names itself: functions, classes, variables, and what it keeps on `self`."""
    for node in ast.walk(module):
        if isinstance(node, FUNCTION | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr


def shared(name: str, module: ast.Module) -> set[str]:
    """Underscored names of a module's classes that a base of another package has, or keeps on `self`, as well."""
    found: set[str] = set()
    for node in module.body:
        if isinstance(node, ast.ClassDef) and (names := set(filter(PRIVATE.fullmatch, _names(node)))):
            for base in getattr(importlib.import_module(name), node.name).__mro__:
                if base.__module__.partition(".")[0] not in {"ovis_app", *STDLIB}:
                    found |= names.intersection(re.findall(r"\b_\w+", inspect.getsource(base)))
    return found


def _names(node: ast.ClassDef) -> Iterator[str]:
    for one in ast.walk(node) if node.bases else ():
        if isinstance(one, ast.Attribute) and ast.unparse(one.value) == "self":
            yield one.attr
        elif isinstance(one, ast.FunctionDef):
            yield one.name
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            yield one.id
