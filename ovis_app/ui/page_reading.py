"""A page as Markdown, for the page: asked for in the words that its model reads by, told in frames as it grows, and at
last whole, with the figures that were cut out of it.

Knows readings and frames; what a model may write is `reading`'s. Refuses to know models, and how anything is drawn.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

from ovis_app import chat
from ovis_app.backend import Backend, answering
from ovis_app.conversation import Conversation, Detail, Media, Message, whole
from ovis_app.errors import UNEXPECTED, RequestError, UserError
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.media import digest, open_image
from ovis_app.media.file_store import FileStore
from ovis_app.reading.clean_up import Cleaned, cleaned, unfinished
from ovis_app.reading.figures import cut_out
from ovis_app.reading.heard import TOKENS, heard, remarks
from ovis_app.reading.kept import FIGURES, Read, part_of
from ovis_app.request_id import reported
from ovis_app.ui.asking import NO_REQUEST
from ovis_app.ui.frames import Frame, failed, figures

log = logging.getLogger(__name__)

NO_WORDS = "This model has no words of its own for reading pages: ask it in the box."
UPDATE_SECONDS = 0.2  # between two looks at a page that grows: each cleans all of it up


def reading(
    backend: Backend, request: Request, store: FileStore, holder: str, limits: Limits
) -> Generator[list[Frame], None, None]:
    """What a page says as it is read, and then all of it; or why it isn't read. Never raises."""
    try:
        picture = _page(request)
        asked = _asked(backend, request, picture)
        name = f"{FIGURES}/{digest(picture)[:12]}"
        message, said, note = Message("assistant"), "", ""
        with closing(_answer(backend, asked)) as grown:
            for message in grown:
                text = cleaned(unfinished(message.text), lambda number: f"{name}-{number}.jpg").text
                yield _between(said, text) + ([_waiting(message.status)] if message.status not in ("", note) else [])
                said, note = text, message.status
        if message.error:
            yield [failed(message.error)]
            return
        done = cleaned(message.text, lambda number: f"{name}-{number}.jpg")
        shown = yield from _figures(done, name, picture, store, holder, limits)
        yield [_read(message, done if shown is not None else cleaned(message.text, None), picture, shown)]
    except UserError as error:
        yield [failed(str(error))]
    except Exception:  # the edge of a turn
        log.exception("reading a page failed (request %s)", request.id)
        yield [failed(reported(UNEXPECTED, request.id))]


def _page(request: Request) -> Media:
    """The one picture that is asked about. Raises RequestError."""
    files = request.conversation.messages[-1].media if request.conversation.messages else ()
    if len(files) != 1 or (files[0].kind != "image" and not files[0].moves):
        raise RequestError(NO_REQUEST)
    return replace(files[0].still, detail=Detail())


def _asked(backend: Backend, request: Request, picture: Media) -> Request:
    """The same as `ovis read` asks it: nothing before it, no thought and no chance, as closely as the settings say."""
    words, given = answering(backend, request.model).reading, request.settings
    if not words:
        raise RequestError(NO_WORDS)
    settings = GenerationSettings(
        max_new_tokens=TOKENS, min_pixels=given.min_pixels, max_pixels=given.max_pixels,
        max_partition=given.max_partition,
    )  # fmt: skip
    return replace(request, conversation=Conversation((Message("user", words, (picture,)),)), settings=settings)


def _answer(backend: Backend, asked: Request) -> Generator[Message, None, None]:
    def said() -> Generator[Message, None, None]:
        with closing(chat.reply(backend, asked)) as states:
            for state in chat.paced(states, seconds=UPDATE_SECONDS):
                yield state.messages[-1]

    return heard(said())


def _between(before: str, now: str) -> list[Frame]:
    """What leads from one text to the next: from which place on, as browsers count, it says something else now."""
    if before == now:
        return []
    pairs = zip(before, now, strict=False)
    same = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(before), len(now)))
    return [{"kind": "grown", "from": len(now[:same].encode("utf-16-le")) // 2, "text": whole(now[same:])}]


def _figures(
    done: Cleaned, name: str, picture: Media, store: FileStore, holder: str, limits: Limits
) -> Generator[list[Frame], None, list[dict[str, str]] | None]:
    """Where the figures lie from now on, by their names; None where they can't all be cut out and kept. A step is one
    figure, behind which a reader may have left: then none of them stays."""
    kept = list[dict[str, str]]()
    with ExitStack() as otherwise:
        try:
            page = open_image(picture, limits) if done.figures else None
            for number, box in enumerate(done.figures, 1):
                assert page is not None
                path = store.put(cut_out(page, box), f"{name}-{number}.jpg".removeprefix(f"{FIGURES}/"), holder)
                otherwise.callback(store.discard, path)
                kept.append({"name": f"{name}-{number}.jpg", "path": str(path)})
                yield []
        except UserError as error:
            log.warning("figures aren't kept: %s", error)
            return None
        otherwise.pop_all()
    return kept


def _read(message: Message, done: Cleaned, picture: Media, shown: list[dict[str, str]] | None) -> Frame:
    notes = (*remarks(message), *done.notes, *(() if shown is not None else ("has figures that can't be kept here",)))
    page = Read(picture.label, digest(picture), 0, done.text, tuple(one["name"] for one in shown or ()), notes)
    said: dict[str, Any] = {"text": whole(done.text), "notes": [whole(f"This page {note}.") for note in notes]}
    return {
        "kind": "read",
        **said,
        "part": whole(part_of(page)),
        "figures": shown or [],
        "stats": figures(message.stats),
    }


def _waiting(note: str) -> Frame:
    return {"kind": "waiting", "note": whole(note)}
