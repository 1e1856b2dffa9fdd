"""A program that calls the named endpoints as any could: over plain HTTP, with named parameters."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.ui.serving import EXAMPLES
from tests.waiting import PATIENCE

SHAPES = EXAMPLES / "shapes.png"
CLIP = EXAMPLES / "clip.mp4"
# The scripted backend echoes what it is asked, and so finds what is asked for in these words.
ANYTHING = "cup</ref> <box>(0.1,0.2),(0.5,0.6)</box> <ref>dog"


class Refused(Exception):
    """What the server said of a call that came to nothing."""


def uri(path: Path, kind: str = "image/png") -> str:
    return data(path.read_bytes(), kind)


def data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def upload(url: str, path: Path) -> str:
    """Where the server put it."""
    with path.open("rb") as file:
        stored = httpx.post(f"{url}gradio_api/upload", files={"files": (path.name, file)}, timeout=PATIENCE)
    return str(stored.json()[0])


def uploaded(url: str, path: Path) -> dict[str, Any]:
    """An uploaded file as Gradio's own clients name it."""
    return {"path": upload(url, path), "meta": {"_type": "gradio.FileData"}, "orig_name": path.name}


@contextmanager
def started(url: str, endpoint: str, **given: Any) -> Iterator[Iterator[tuple[str, Any]]]:
    """The events of a call, as (event, data)."""
    said = httpx.post(f"{url}gradio_api/call/v2/{endpoint}", json=given, timeout=PATIENCE)
    if said.status_code != 200:
        raise Refused(said.text)
    at = f"{url}gradio_api/call/v2/{endpoint}/{said.json()['event_id']}"
    with httpx.stream("GET", at, timeout=PATIENCE) as stream:
        yield _events(stream)


def _events(stream: httpx.Response) -> Iterator[tuple[str, Any]]:
    event = ""
    for line in stream.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, json.loads(value)


def call(url: str, endpoint: str, **given: Any) -> list[Any]:
    """What a call gives in the end. Raises Refused with the sentence of one that came to nothing."""
    with started(url, endpoint, **given) as events:
        for event, data in events:
            if event == "complete":
                return list(data)
            if event == "error":
                raise Refused(data["error"])
    raise AssertionError("the call never ended")
