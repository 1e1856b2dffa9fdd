"""What the page's modules are told, as JSON: which model answers and what it can do, which knobs there are, what an
empty page offers, and whose tab it is.

Knows models, knobs and examples; refuses to know conversations.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ovis_app
from ovis_app.generation import MAX_TEXT
from ovis_app.limits import Limits
from ovis_app.ui.bringing import limits_for
from ovis_app.ui.controls import DROP, SPLIT, SWITCHES, Knob, Switch, knobs, recommended
from ovis_app.ui.panels.conversation import CHOOSE, START, offered, subject
from ovis_app.ui.static_files import KINDS, StaticFiles
from ovis_app.zoo import Example, ModelSpec

MOST_OTHERS = 20  # models that a question may be asked of too


def facts(
    spec: ModelSpec, session: str, *, limits: Limits, static: StaticFiles, folder: Path, api: str = "key",
    may_choose: bool = False, fetches: bool = False, others: Mapping[str, ModelSpec] = MappingProxyType({}),
) -> str:  # fmt: skip
    """All of it, for the tab of `session`. `api` is how programs are let in at /v1; nothing where it isn't there.
    `fetches` is whether files come from addresses here.
    `others` could answer one question alone, by the names that a request has for them. Whether that tab `may_choose`
    the model for all says what it is told where little is known."""
    return json.dumps(
        {
            "version": static.version,
            "session": session,
            "app": ovis_app.__version__,
            "api": api,
            "fetches": fetches,
            "name": spec.name,
            "about": spec.about,
            "subject": subject(spec),
            "hint": (CHOOSE if may_choose else START) if spec.bundled else "",
            "may_choose": may_choose,
            "most_text": MAX_TEXT,
            "most_files": limits_for(spec, limits).files_per_turn,
            "several_clips": spec.several_clips,
            "model": _model(spec)
            | {
                "id": spec.public_id,
                "suffixes": {"boxes": spec.boxes_suffix, "cot": spec.cot_suffix},
                "help": _help(spec),
            },
            "others": [{"key": key, "name": other.name, "model": _model(other)} for key, other in beside(spec, others)],
            "reads": bool(spec.reading),
            "tasks": [asdict(one) for one in spec.tasks],
            "examples": [_example(one, static) for one in offered(spec, folder)],
        }
    )


def beside(spec: ModelSpec, others: Mapping[str, ModelSpec]) -> list[tuple[str, ModelSpec]]:
    """Those of `others` that people can tell from `spec` and from one another."""
    found: dict[str, tuple[str, ModelSpec]] = {}
    for key, other in others.items():
        if other.name != spec.name:
            found.setdefault(other.name, (key, other))
    return list(found.values())[:MOST_OTHERS]


def _model(spec: ModelSpec) -> dict[str, Any]:
    switches = [one for one in (*SWITCHES, SPLIT) if one.offered(spec)]
    return {
        "switches": [one.name for one in switches],
        "labels": {one.name: one.label for one in (*switches, DROP)},
        "knobs": [_knob(one, spec) for one in knobs(spec)],
    }


def _help(spec: ModelSpec) -> dict[str, str]:
    """What each control does, in a line."""
    rows: tuple[Knob | Switch, ...] = (*SWITCHES, SPLIT, DROP, *knobs(spec))
    return {one.name: one.about for one in rows}


def _knob(knob: Knob, spec: ModelSpec) -> dict[str, Any]:
    told = {name: getattr(knob, name) for name in ("name", "section", "side", "label", "low", "high", "step")}
    return told | {"recommended": recommended(spec, knob)}


def _example(example: Example, static: StaticFiles) -> dict[str, Any]:
    wants = {name: True for name in ("thinking", "boxes") if getattr(example, name)}
    media = [
        {"url": f"{static.base}examples/{name}", "name": name, "shown": _within(static.files[f"examples/{name}"])}
        for name in example.media
    ]
    return {"label": example.label, "text": example.text, "media": media, "wants": wants}


@functools.cache
def _within(file: Path) -> str:
    """A small file as an address that holds it, so that the empty page asks for nothing more."""
    return f"data:{KINDS[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"
