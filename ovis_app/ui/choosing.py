"""What an attached file holds, for whoever chooses among it before asking: the moments of a clip that a model would be
shown, and the pages of a document. Small pictures with a number each, and never more than were asked for.

Knows the store and what is asked about a file; refuses to know questions, and what is kept of a choice.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from ovis_app.api.openai.fields import ApiError
from ovis_app.conversation import WHOLE_CLIP
from ovis_app.errors import MediaError, RequestError
from ovis_app.generation import GenerationSettings
from ovis_app.limits import Limits, refusal
from ovis_app.media import attach_turns, sample_frames
from ovis_app.media.documents import Document, is_document, no_document
from ovis_app.media.file_store import FileStore
from ovis_app.ui.asking import excerpt_in

FRAME_SIDE = 160  # pixels of a moment's longer side
PAGE_PIXELS = 160 * 160  # width x height of a page
PAGES = 12  # that are drawn at a time
MISSING = "A file is missing: attach it again."
NO_PAGE = "There is no such page: pages are numbers from 1."


def moments(asked: Mapping[str, Any], holder: str, *, store: FileStore, limits: Limits) -> dict[str, Any]:
    """The frames of a clip that `frames` and `excerpt` choose, each with when it begins, and how long the clip is.
    Raises UserError."""
    try:
        excerpt = excerpt_in(asked.get("excerpt")) or WHOLE_CLIP
        count = GenerationSettings(frames=asked.get("frames")).check().frames or 1
    except ApiError as error:
        raise RequestError(str(error)) from error
    path, name = claimed(asked, holder, store)
    [[media]] = attach_turns([[(path, name)]], limits)
    if media.kind != "video":
        raise refusal(name, "doesn't move: attach a clip.")
    clip = sample_frames(media, count, replace(limits, frame_side=FRAME_SIDE), excerpt=excerpt)
    shown = [{"time": time, "picture": _uri(frame)} for time, frame in zip(clip.times, clip.frames, strict=True)]
    return {"duration": clip.duration, "frames": shown}


def pages(asked: Mapping[str, Any], holder: str, *, store: FileStore, limits: Limits) -> dict[str, Any]:
    """How many pages a document has, and some of them from the page `first` on. Raises UserError."""
    first = asked.get("first", 1)
    if not isinstance(first, int) or isinstance(first, bool) or not 1 <= first <= limits.document_pages:
        raise RequestError(NO_PAGE)
    path, name = claimed(asked, holder, store)
    if not is_document(path):
        raise no_document(name)
    document = Document(path, name, replace(limits, page_pixels=PAGE_PIXELS))
    count = document.count()
    with closing(document.pages(range(first, min(first + PAGES, count + 1)))) as drawn:
        shown = [{"page": page.number, "picture": "" if page.picture is None else _uri(page.picture)} for page in drawn]
    return {"count": count, "pages": shown}


def claimed(asked: Mapping[str, Any], holder: str, store: FileStore) -> tuple[Path, str]:
    """The upload that is asked about, and what its owner calls it. Raises MediaError."""
    path = str(asked.get("upload") or "")
    if not path or "\0" in path or str(Path(path)) != path:
        raise MediaError(MISSING)
    found = store.claim(Path(path), holder)
    return found, store.name_of(found)


def _uri(picture: Image.Image) -> str:
    kept = BytesIO()
    picture.save(kept, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(kept.getvalue()).decode()}"
