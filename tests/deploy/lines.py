"""The command lines that docs/deploy.md and the files of deploy/ tell people to run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOC = ROOT / "docs" / "deploy.md"


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8")))


def dockerfile() -> list[tuple[str, str]]:
    """Its instructions and what they say, with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


def unit() -> dict[str, list[str]]:
    """The settings of the systemd unit."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd" / "ovis.service").read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            found.setdefault(line.partition("=")[0], []).append(line.partition("=")[2])
    return found


def commands(program: str) -> Iterator[list[str]]:
    """Every call of `program`, as words."""
    blocks = re.findall(r"^```\n(.*?)^```", DOC.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`(ovis[^`]+)`", DOC.read_text("utf-8"))
    for line in [*"".join(blocks).splitlines(), *inline]:
        for part in re.split(r"\s(?:&&|>>?|\|)\s", line.replace("\n", " ")):
            words = shlex.split(part)
            if words and Path(words[0]).name == program:
                yield words[1:]
    if program == "ovis":
        yield shlex.split(unit()["ExecStart"][0])[1:]
        yield ["serve", *compose()["services"]["page"]["command"]]
        [entry] = [json.loads(said) for name, said in dockerfile() if name == "ENTRYPOINT"]
        yield entry[1:]
        for words in commands("docker"):
            if words[0] == "run":
                image = next(place for place, word in enumerate(words) if word.startswith("ovis-app"))
                yield ["serve", *words[image + 1 :]]
    if program == "vllm":
        service = compose()["services"]["vllm"]
        yield [*service["entrypoint"][1:], *service["command"]]
