"""The small files of a checkpoint's folder, as they lie there: JSON objects that may be missing, odd or a stranger's.

Knows names of files; refuses to know what they should say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

LARGEST = 64 * 2**20  # bytes that are read of one: a tokenizer.json has 11 MB
TEMPLATE = 200_000  # characters of a chat template


def read(folder: Path, name: str) -> Mapping[str, Any]:
    """A file's JSON object; empty where there is none, or nothing that can be read."""
    with suppress(OSError, ValueError, RecursionError):
        file = folder / name
        if file.stat().st_size <= LARGEST:
            content = json.loads(file.read_text(encoding="utf-8"))
            return content if isinstance(content, dict) else {}
    return {}


def added_tokens(folder: Path) -> dict[str, dict[str, int]]:
    """The ids of control tokens, by the file that says so."""
    found = {
        "tokenizer.json": {
            str(one["content"]): one["id"]
            for one in _objects(read(folder, "tokenizer.json").get("added_tokens"))
            if "content" in one and isinstance(one.get("id"), int)
        },
        "tokenizer_config.json": {
            str(one["content"]): int(number)
            for number, one in _items(read(folder, "tokenizer_config.json").get("added_tokens_decoder"))
            if isinstance(one, dict) and "content" in one and number.isdecimal()
        },
        "added_tokens.json": {
            token: number for token, number in read(folder, "added_tokens.json").items() if isinstance(number, int)
        },
    }
    return {file: tokens for file, tokens in found.items() if tokens}


def templates(folder: Path) -> dict[str, str]:
    """The chat templates, by the file that holds one."""
    found: dict[str, str] = {}
    with suppress(OSError, ValueError):
        if (folder / "chat_template.jinja").stat().st_size <= LARGEST:
            found["chat_template.jinja"] = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for file in ("tokenizer_config.json", "chat_template.json"):
        said = read(folder, file).get("chat_template")
        if isinstance(said, list):  # several, by name
            said = next((one.get("template") for one in _objects(said) if one.get("name") == "default"), None)
        if isinstance(said, str):
            found[file] = said
    return found


def token(value: object) -> str:
    """A token as tokenizer_config.json names it: a text, or an object with one."""
    return str(value.get("content", "")) if isinstance(value, dict) else value if isinstance(value, str) else ""


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _items(value: object) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
