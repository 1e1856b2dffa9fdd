"""A file that somebody chose, looked at before anything is asked: what it is, or why it can't be sent; a document as
the pictures of its first pages.

Knows the store and the gate for files. Refuses to know questions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import PageChoice, attach_all, probe, upright_size, with_pages
from ovis_app.media.attach import File
from ovis_app.media.data_uri import FILE_ROUTE
from ovis_app.media.file_store import FileStore
from ovis_app.media.incoming_file import writing
from ovis_app.zoo import ModelSpec

MANY = 100_000  # frames of a clip that doesn't say how many: more than are ever looked at


def brought(path: str, holder: str, *, store: FileStore, limits: Limits, spec: ModelSpec) -> dict[str, Any]:
    """What is to be said of the upload at `path`, which is this holder's from now on: `files`, each with its kind, its
    size and where it lies, and `notes`; or `refused`, a sentence."""
    try:
        if not path or "\0" in path or str(Path(path)) != path:
            raise MediaError("A file is missing: attach it again.")
        found = store.claim(Path(path), holder)
        files, notes = _paged((found, store.name_of(found)), holder, store, limits)
        media, refused = attach_all(files, limits)
    except MediaError as error:
        return {"refused": str(error)}
    media = media if spec.video else tuple(one.still for one in media)
    if refused:
        return {"refused": " ".join(refused)}
    if not spec.video and any(one.kind == "video" for one in media):
        return {"refused": f"“{media[0].label}” is a clip, and this model looks at pictures only."}
    told = [{"kind": one.kind, "name": one.label, "path": str(one.path), "size": _size(one, limits)} for one in media]
    return {"files": told, "notes": notes}


def _size(media: Media, limits: Limits) -> list[int]:
    """Width and height, and of what is watched as a clip how many frames it has. Raises MediaError."""
    if media.kind == "image":
        return [*upright_size(media, limits)]
    if media.moves:
        return [*upright_size(media, limits), media.pictures]
    clip = probe(media, limits)
    return [clip.width, clip.height, max(round(clip.duration * clip.fps), 1) if clip.fps else MANY]


def _paged(file: File, holder: str, store: FileStore, limits: Limits) -> tuple[list[File], list[str]]:
    """The file, or of a PDF the pictures of its first pages, which the store has from now on. Raises MediaError."""
    with writing(), TemporaryDirectory(prefix="ovis-", ignore_cleanup_errors=True) as folder:
        found, notes = with_pages([file], Path(folder), limits, PageChoice(partly=True))
        if found == [file]:
            return found, list(notes)
        return [(store.put(path.read_bytes(), name, holder), name) for path, name in found], list(notes)


def address(path: str) -> str:
    """How a request names an upload, relative to the page."""
    return FILE_ROUTE.removeprefix("/") + path


def limits_for(spec: ModelSpec, limits: Limits) -> Limits:
    """The limits for a model: some look at one picture only."""
    return limits if spec.several_images else replace(limits, files_per_turn=1)
