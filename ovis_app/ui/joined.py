"""The modules that the page needs at first, as one file: each a function's body, in the order of their imports.

What is written stays what runs, but for import and export: so nothing is built, and a browser asks once, not for each.
A module that is asked for by its own name, as those do that load later, is a few lines that hand out the one in here.
Knows the few forms of import and export that the page's modules use; refuses all others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

IMPORT = re.compile(r'^import\s+(?:\{([^}]*)\}|\*\s+as\s+(\w+))\s+from\s+"\./([\w-]+\.mjs)";', re.MULTILINE)
EXPORT = re.compile(r"^export ((?:async )?function\*?|class|const) (\w+)", re.MULTILINE)
NAMES = re.compile(r"^export \{ (\w+(?:, \w+)*) \};", re.MULTILINE)
OTHER = re.compile(r"^(?:import\b(?!\()|export\b).*", re.MULTILINE)


class NotJoined(Exception):
    """A module that is written in a way that isn't known here."""


def joined(sources: Mapping[str, str], first: str) -> dict[str, str]:
    """The texts to be served in place of `first` and of all that it imports. Raises NotJoined."""
    order: list[str] = []
    _visit(first, sources, order, ())
    bodies, exports = zip(*(_body(name, sources[name]) for name in order), strict=True)
    known = ", ".join(f"{json.dumps(name)}: {_own(name)}" for name in order)
    outside = f"export const modules = {{ {known} }};\nexport const {{ {', '.join(exports[-1])} }} = {_own(first)};\n"
    made = {first: "\n".join(bodies) + outside}
    for name, names in zip(order[:-1], exports[:-1], strict=True):
        made[name] = (
            f'import {{ modules }} from "./{first}";\nexport const {{ {", ".join(names)} }} = modules["{name}"];\n'
        )
    return made


def _visit(name: str, sources: Mapping[str, str], order: list[str], above: tuple[str, ...]) -> None:
    """Puts a module behind all that it imports."""
    if name in order:
        return
    if name in above or name not in sources:
        raise NotJoined(f"{name} imports itself in the end, or isn't there")
    for wanted in IMPORT.finditer(sources[name]):
        _visit(wanted[3], sources, order, (*above, name))
    order.append(name)


def _body(name: str, source: str) -> tuple[str, list[str]]:
    """A module as a function that is called at once, and the names that it gives."""
    exports = [found[2] for found in EXPORT.finditer(source)]
    exports += [name.strip() for found in NAMES.finditer(source) for name in found[1].split(",")]
    text = NAMES.sub("", EXPORT.sub(r"\1 \2", IMPORT.sub(_taken, source)))
    other = OTHER.search(text)
    if other is not None:
        raise NotJoined(f"{name}: {other[0]}")
    return f"const {_own(name)} = (() => {{\n{text}\nreturn {{ {', '.join(exports)} }};\n}})();\n", exports


def _taken(found: re.Match[str]) -> str:
    names = found[2] or "{ " + " ".join(found[1].split()).replace(" as ", ": ") + " }"
    return f"const {names} = {_own(found[3])};"


def _own(name: str) -> str:
    return "$" + re.sub(r"\W", "_", name.removesuffix(".mjs"))
