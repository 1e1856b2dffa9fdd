"""No pattern takes more than linear time, whatever a person, a model or a checkpoint writes.

Every `re` call of the source is found, so that a new pattern is tried without being listed here.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "ovis_app"
CALLS = {"compile", "match", "search", "fullmatch", "sub", "subn", "split", "findall", "finditer"}
# Patterns that are put together while the app runs, and why they can't take long.
MADE_LATER = {
    "models/prompt.py": "alternatives of a tokenizer's control strings, taken literally",
    "checkpoints/adapter_config.py": "an adapter's, short, with few repeats and choices, and of a module's name alone",
    "doctor/questions.py": "ASKED, a few literal words",
    "checkpoints/hf_names.py": "RENAMINGS, a table of literal names; tried below",
}
STARTS = ("", "<box>", "<box>(", "<ref>", "<ref>a</ref>", "a/", "a.layers.1.")
PIECES = ("0", "9.", ".", " ", "\n", "<", "<a", "<box>(1", "<ref>", "<box>(0.1,0.2),", "(1,", "a", "A ", "a.", "-", "/")
PIECES += ("b1", ".layers.1.", ".attention.q_proj.", "weight", "、", "a,")
LENGTH = 64_000
MOST_SECONDS = 0.2  # a linear pattern takes 0.006 s for as many characters; a quadratic one 20 s or more


Used = tuple[str, re.Pattern[str], frozenset[str]]  # where it stands, the pattern, and the methods it is used by


def patterns() -> Iterator[Used]:
    """Every pattern of the source."""
    files = {file: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(ROOT.rglob("*.py"))}
    calls = {_called(node) for tree in files.values() for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for file, tree in files.items():
        where = file.relative_to(ROOT).as_posix()
        names = {node.value: _name(node) for node in ast.walk(tree) if isinstance(node, ast.Assign)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or _called(node)[0] != "re" or _called(node)[1] not in CALLS:
                continue
            pattern, method = _pattern(node, where), _called(node)[1]
            methods = _methods(calls, names.get(node)) if method == "compile" else {method}
            if pattern is not None:
                yield f"{where}:{node.lineno}", pattern, frozenset(methods)
    from ovis_app.checkpoints import hf_names

    for old, _ in hf_names.RENAMINGS:
        yield f"checkpoints/hf_names.py {old}", re.compile(old), frozenset({"sub"})


def _name(assigned: ast.Assign) -> str | None:
    target = assigned.targets[0]
    return target.id if isinstance(target, ast.Name) else None


def _called(call: ast.Call) -> tuple[str, str]:
    """The two names of `name.method(...)`."""
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        return call.func.value.id, call.func.attr
    return "", ""


def _methods(calls: Iterable[tuple[str, str]], name: str | None) -> set[str]:
    """How a pattern of this name is used anywhere; one without a name could be used in any way."""
    return {method for called, method in calls if called == name} or {"search", "fullmatch"}


def _pattern(call: ast.Call, where: str) -> re.Pattern[str] | None:
    """The pattern of a call, as its module sees it."""
    module = importlib.import_module("ovis_app." + where.removesuffix(".py").replace("/", "."))
    shown = call if _called(call)[1] == "compile" else call.args[0]
    try:
        made = eval(compile(ast.Expression(shown), where, "eval"), vars(module))
    except (NameError, AttributeError):
        assert where in MADE_LATER, f"{where}:{call.lineno}: which pattern is that? Make it a constant of its module."
        return None
    return made if isinstance(made, re.Pattern) else re.compile(made)


def _hostile() -> Iterator[tuple[str, str]]:
    for start, piece in itertools.product(STARTS, PIECES):
        yield f"{start}{piece}…", start + piece * (LENGTH // len(piece)) + "!"


FOUND = list(patterns())


@pytest.mark.parametrize(("pattern", "methods"), [pytest.param(*one[1:], id=one[0]) for one in FOUND])
def test_a_pattern_is_linear_on_hostile_text(pattern: re.Pattern[str], methods: frozenset[str]) -> None:
    for shown, text in _hostile():
        took = _seconds(pattern, methods, text)
        if took >= MOST_SECONDS:  # once more: it may have been the machine
            took = min(took, _seconds(pattern, methods, text))
        assert took < MOST_SECONDS, f"{shown} of {len(text):,} characters takes {took:.1f} s"


def _seconds(pattern: re.Pattern[str], methods: frozenset[str], text: str) -> float:
    """Of the processor, for each way in which the pattern is used."""
    began = time.process_time()
    for method in methods & {"match", "fullmatch"}:
        getattr(pattern, method)(text)
    if methods - {"match", "fullmatch"}:
        deque(pattern.finditer(text), maxlen=0)
    return time.process_time() - began


def test_all_patterns_are_found() -> None:
    found = {where.partition(":")[0] for where, _, _ in FOUND}
    assert {"media/boxes.py", "zoo/resolve.py", "zoo/spec.py", "settings.py"} <= found
