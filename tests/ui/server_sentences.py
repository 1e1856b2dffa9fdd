"""What the server says to people on the page, read from its source: every text of two words or more that isn't code.

Knows where sentences are written, and which texts nobody reads; refuses to know in which languages there are any.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

APP = Path(__file__).parents[2] / "ovis_app"

# What is said in a terminal, in a log or to programs alone.
ELSEWHERE = (
    "accounts.py", "api/call_question.py", "api/gradio_endpoints.py", "api/health.py", "api/mcp.py", "api/metrics.py",
    "api/openai/protocol.py", "api/openai/replies.py", "api/openai/routes.py", "api/openai/serving.py",
    "backends/remote/server.py", "batch_files.py", "checkpoints/merge.py", "cli/", "doctor/", "engine/fused/",
    "logs.py", "models/", "proxies.py",
    "reading/", "serve.py", "setting_values.py", "settings.py", "training/", "ui/http_", "ui/joined.py", "ui/page.py",
    "ui/static_files.py", "ui/theme.py", "ui/wiring/header.py", "zoo/table.py",
)  # fmt: skip
# But these are heard on the page too.
HERE = ("doctor/backend.py", "models/config.py", "models/devices.py", "reading/clean_up.py", "reading/heard.py",
        "ui/http_answers.py", "ui/http_arrival.py", "ui/http_bodies.py", "ui/http_events.py",
        "ui/http_uploads.py")  # fmt: skip
NOT_SAID = re.compile(
    r"[<\n]|default-src|https://|window\.ovis|document\.baseURI|gradio_api"
    r"|\bZeroGPU [a-z]|^(?:No GPU was available|runs limit"
    r"|reached its GPU limit|quiet icon.*|image/\*, video/\*, application/pdf|Bearer \{0\}|Raw profile type exif"
    r"|No space left on device"
    r"|Please provide the (?:bounding box|point) coordinates\.|End your response with .*|Provide a step-by-step .*"
    r"|Describe the image\.|Which image has more shapes\?|Which way does it move\?|How many shapes are there\?"
    r"|What does the text say\?|Where is the .*|files are missing|place comes first|going back|1-3,7,10-.*"
    r"|\{0\} ids and \{1\} keys|count must be at least 1, not \{0\}|the downloader died"
    r"|The sender left before all of it was there\.|no weights in \{0\}|too many names are being looked up"
    r"|\{0\} and \{1\} more|Image \{0\}:|You said: \{0\}|\(with \{0\}\)|\{0\} is \{1\}|eos_token_id is \{0\})$"
)
WORDS = re.compile(r"\w+\W+\w*[a-z]{2}|[a-z]{2}\w*\W+\w+")


@functools.cache
def sentences() -> dict[str, str]:
    """Each text with its places as `{0}` or `{name}`, and where it is written."""
    found: dict[str, str] = {}
    for file in sorted(APP.rglob("*.py")):
        name = file.relative_to(APP).as_posix()
        if name.startswith(ELSEWHERE) and name not in HERE:
            continue
        for line, text in _texts(ast.parse(file.read_text("utf-8"))):
            if " " in text and WORDS.search(text) and not NOT_SAID.search(text):
                found.setdefault(text, f"{name}:{line}")
    return found


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    silent = set(_silent(tree))
    for node in ast.walk(tree):
        if id(node) in silent:
            continue
        if isinstance(node, ast.JoinedStr):
            silent |= {id(part) for part in node.values if isinstance(part, ast.Constant)}
            silent |= {id(one) for part in node.values for one in ast.walk(part) if isinstance(part, ast.FormattedValue)
                       and part.format_spec is not None for one in ast.walk(part.format_spec)}  # fmt: skip
            yield node.lineno, _places(node).lstrip(" ,").rstrip()
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, re.sub(r"\{(\w*)[^{}]*\}", r"{\1}", node.value).lstrip(" ,").rstrip()


def _places(node: ast.JoinedStr) -> str:
    numbers = iter(range(len(node.values)))
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else f"{{{next(numbers)}}}" for part in node.values
    )


def _silent(tree: ast.Module) -> Iterator[int]:
    """Docstrings, and what is written to the log."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr):
                yield id(first.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("log.", "warnings.", "re.compile")):
            yield from (id(one) for one in ast.walk(node))
        elif isinstance(node, ast.Raise) and node.exc is not None:
            kind = ast.unparse(node.exc).partition("(")[0]
            if kind in ("ValueError", "TypeError", "KeyError", "RuntimeError", "AssertionError", "AttributeError"):
                yield from (id(one) for one in ast.walk(node))
