"""A file that somebody chose, looked at before anything is asked: what it is, or why it can't be sent; a document as
the pictures of its first pages, or of those that were chosen.

Knows the store and the gate for files. Refuses to know questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ovis_app.conversation import Media
from ovis_app.errors import RequestError, UserError
from ovis_app.limits import Limits
from ovis_app.media import PageChoice, PageRange, attach_all, probe, upright_size, with_pages
from ovis_app.media.attach import File
from ovis_app.media.data_uri import FILE_ROUTE
from ovis_app.media.file_store import FileStore
from ovis_app.media.incoming_file import writing
from ovis_app.media.page_range import ALL
from ovis_app.media.question_pages import number_of
from ovis_app.ui.choosing import claimed
from ovis_app.zoo import ModelSpec

LEAST_DPI, MOST_DPI = 36, 600
MANY = 100_000  # frames of a clip that doesn't say how many: more than are ever looked at


def brought(
    asked: Mapping[str, Any], holder: str, *, store: FileStore, limits: Limits, spec: ModelSpec
) -> dict[str, Any]:  # fmt: skip
    """What is to be said of the upload that is named, which is this holder's from now on: `files`, each with its kind,
    its size, where it lies, whether it is an animation, and of a page its number; and `notes`; or `refused`, a
    sentence. `pages` and `dpi` choose among a document's; where it is to be `whole`, all of those or none."""
    try:
        choice = replace(_choice(asked.get("pages"), asked.get("dpi")), partly=asked.get("whole") is not True)
        files, pages, notes = _paged(claimed(asked, holder, store), holder, store, limits, choice)
        media, refused = attach_all(files, limits)
    except UserError as error:
        return {"refused": str(error)}
    media = media if spec.video else tuple(one.still for one in media)
    if refused:
        return {"refused": " ".join(refused)}
    if not spec.video and any(one.kind == "video" for one in media):
        return {"refused": f"“{media[0].label}” is a clip, and this model looks at pictures only."}
    told = [
        {
            "kind": one.kind,
            "name": one.label,
            "path": str(one.path),
            "size": _size(one, limits),
            "moves": one.moves,
            **pages.get(one.path, {}),
        }
        for one in media
    ]
    return {"files": told, "notes": notes}


def _size(media: Media, limits: Limits) -> list[int]:
    """Width and height, and of what is watched as a clip how many frames it has. Raises MediaError."""
    if media.kind == "image":
        return [*upright_size(media, limits)]
    if media.moves:
        return [*upright_size(media, limits), media.pictures]
    clip = probe(media, limits)
    return [clip.width, clip.height, max(round(clip.duration * clip.fps), 1) if clip.fps else MANY]


def _choice(pages: object, dpi: object) -> PageChoice:
    """Which pages, and how closely. Raises UserError."""
    if pages is not None and not isinstance(pages, str):
        raise RequestError("pages must be text, such as 1-3,7.")
    if dpi is not None and (not isinstance(dpi, int) or isinstance(dpi, bool) or not LEAST_DPI <= dpi <= MOST_DPI):
        raise RequestError(f"dpi must be a whole number from {LEAST_DPI} to {MOST_DPI}.")
    return PageChoice(PageRange.parse(pages) if pages else ALL, dpi, partly=True)


def _paged(
    file: File, holder: str, store: FileStore, limits: Limits, choice: PageChoice
) -> tuple[list[File], dict[Path, dict[str, int]], list[str]]:
    """The file, or of a PDF the pictures of its pages, which the store has from now on, with their numbers. Raises
    MediaError; then it has none of them."""
    with (
        writing(),
        TemporaryDirectory(prefix="ovis-", ignore_cleanup_errors=True) as folder,
        ExitStack() as otherwise,
    ):
        found, notes = with_pages([file], Path(folder), limits, choice)
        if found == [file]:
            return found, {}, list(notes)
        kept = list[File]()
        for path, name in found:
            kept.append((store.put(path.read_bytes(), name, holder), name))
            otherwise.callback(store.discard, kept[-1][0])
        numbers = {path: {"page": number_of(drawn)} for (path, _), (drawn, _) in zip(kept, found, strict=True)}
        otherwise.pop_all()
        return kept, numbers, list(notes)


def address(path: str) -> str:
    """How a request names an upload, relative to the page."""
    return FILE_ROUTE.removeprefix("/") + path


def limits_for(spec: ModelSpec, limits: Limits) -> Limits:
    """The limits for a model: some look at one picture or clip only, and pages are drawn as large as it sees them."""
    limits = replace(limits, page_pixels=max(limits.page_pixels, spec.single.max_pixels))
    limits = limits.for_clips(several=spec.several_clips)
    return limits if spec.several_images else replace(limits, files_per_turn=1)
