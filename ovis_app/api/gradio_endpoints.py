"""What programs and agents may ask by name: `chat`, `describe`, `read_text`, `locate` and `ask_video`.

Takes the page's road, chat.reply. Each call stands alone: knows no panel, and nothing of what a tab is in the middle
of. Signatures and docstrings are what clients, /gradio_api/info and MCP show.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypedDict, TypeVar

import anyio
import gradio as gr
from gradio.events import api

from ovis_app import chat
from ovis_app.api import callers
from ovis_app.api.call_question import NO_TEXT, asked
from ovis_app.api.driven import driven
from ovis_app.api.given_files import GivenFiles, Uploaded
from ovis_app.backend import Backend
from ovis_app.conversation import Conversation, Media, MediaKind, Message
from ovis_app.errors import Busy, RequestError, UserError
from ovis_app.generation import Request
from ovis_app.limits import Limits
from ovis_app.media.boxes import Box, draw, found
from ovis_app.media.file_store import FileStore
from ovis_app.media.incoming_file import NoRoom, writing
from ovis_app.media.readers import Readers
from ovis_app.outcomes import Tell, nobody, refused
from ovis_app.private_folder import name_for

DESCRIBE = "Describe the image."
READ = "What does the text say?"
LOCATE = "Where is the <ref>{}</ref>?"
NO_BOXES = "{} was not trained to find things in pictures: the list of models says which ones were."

Call = TypeVar("Call", bound=Callable[..., Any])


class Found(TypedDict):
    """One box, in pixels of the given picture, from its top left corner."""

    name: str
    left: int
    top: int
    right: int
    bottom: int


class Refusal(gr.Error):
    """One sentence for who called; to MCP too, which takes what `str` gives."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, print_exception=False)

    def __str__(self) -> str:
        return str(self.message)


def gives(what: Any) -> Callable[[Call], Call]:
    """Tells Gradio what an endpoint gives, which its own annotation can't: that says that it comes bit by bit."""

    def marked(call: Call) -> Call:
        call.__signature__ = inspect.signature(call).replace(return_annotation=what)  # type: ignore[attr-defined]
        return call

    return marked


def add(
    page: gr.Blocks, backend: Backend, limits: Limits, store: FileStore, *, at_once: int, tell: Tell = nobody
) -> None:
    """Adds the endpoints to the page. `tell` hears of what is refused before it comes into the line."""
    calls = Endpoints(backend, limits, store, anyio.CapacityLimiter(at_once + 40), tell)
    with page:
        for call in (calls.chat, calls.describe, calls.read_text, calls.locate, calls.ask_video):
            # Not `queue`: a tool's call would come in by a client of Gradio in this process, which reads any file of
            # this machine, holds a thread and doesn't hear that its caller left. Clients of Gradio are queued still.
            api(call, api_name=call.__name__, queue=False, concurrency_id="answers", concurrency_limit=at_once)


@dataclass(frozen=True, eq=False)
class Endpoints:
    """The endpoints. `store` has what was uploaded, and what is to be fetched."""

    backend: Backend
    limits: Limits
    store: FileStore
    threads: anyio.CapacityLimiter
    tell: Tell = nobody

    @gives(str)
    async def chat(
        self,
        request: gr.Request,
        question: str,
        files: list[Uploaded | str] | None = None,
        history: list[dict[str, Any]] | None = None,
        thinking: bool = False,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> AsyncGenerator[str, None]:
        """Asks the Ovis vision language model a question, about pictures or clips if any are given. Each file is a
        path that POST /gradio_api/upload returned, or a data URI. `history` is as OpenAI's chat completions have it.

        Parameters:
            question: What to ask.
            files: Several pictures or PDF pages, a clip (several where the model can), or none: paths or data URIs.
            history: Earlier messages, oldest first, as OpenAI's chat completions have them: {"role", "content"}.
            thinking: Whether the model reasons first, where it can. The thought itself is not returned.
            max_new_tokens: The most tokens to generate, the thought included. None is the model's own limit.
            temperature: 0 always takes the likeliest token; more varies. None is what the model recommends.
            seed: Makes an answer that varies repeatable.
        Returns:
            The answer
        """
        given = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
        wanted = {name: value for name, value in given.items() if value is not None} | {"thinking": thinking}
        async with aclosing(self._answer(request, question, files, history, wanted=wanted)) as said:
            async for message, _ in said:
                yield message.text

    @gives(str)
    async def describe(self, request: gr.Request, image: Uploaded | str) -> AsyncGenerator[str, None]:
        """Describes a picture in words. It is given as a path that POST /gradio_api/upload returned, or a data URI.

        Parameters:
            image: The picture: a path that an upload returned, or a data URI.
        Returns:
            The description
        """
        async with aclosing(self._answer(request, DESCRIBE, [image], kind="image")) as said:
            async for message, _ in said:
                yield message.text

    @gives(str)
    async def read_text(self, request: gr.Request, image: Uploaded | str) -> AsyncGenerator[str, None]:
        """Reads the text in a picture. It is given as a path that POST /gradio_api/upload returned, or a data URI.

        Parameters:
            image: The picture: a path that an upload returned, or a data URI.
        Returns:
            The text, as the model reads it
        """
        async with aclosing(self._answer(request, READ, [image], kind="image")) as said:
            async for message, _ in said:
                yield message.text

    @gives(tuple[list[Found], Uploaded | None])
    async def locate(
        self, request: gr.Request, image: Uploaded | str, what: str
    ) -> AsyncGenerator[tuple[list[Found], dict[str, Any] | None], None]:
        """Finds something in a picture: gives boxes in its pixels, and a copy with the boxes drawn. The picture is a
        path that POST /gradio_api/upload returned, or a data URI.

        Parameters:
            image: The picture: a path that an upload returned, or a data URI.
            what: What to find, in a few words: "the red circle".
        Returns:
            Boxes: a name, and left, top, right and bottom in pixels of the upright picture; none where none were found
            A copy with the boxes drawn, scaled down where it is large; null where there are none
        """
        model = self.backend.status().model
        if not model.boxes_suffix:
            raise self._unasked(RequestError(NO_BOXES.format(model.name)), request)
        if not isinstance(what, str) or not what.strip():
            raise self._unasked(RequestError(NO_TEXT.format("what")), request)
        question = LOCATE.format(what.strip().removeprefix("the "))
        async with aclosing(self._answer(request, question, [image], kind="image", wanted={"boxes": True})) as said:
            async for message, media in said:
                named = found(message.text) if message.finish is not None else ()
                yield await self._located(media[0], named, request) if named else ([], None)

    @gives(str)
    async def ask_video(self, request: gr.Request, video: Uploaded | str, question: str) -> AsyncGenerator[str, None]:
        """Asks a question about a video clip, which is a path that POST /gradio_api/upload returned, or a data URI.

        Parameters:
            video: The clip: a path that an upload returned, or a data URI.
            question: What to ask.
        Returns:
            The answer
        """
        async with aclosing(self._answer(request, question, [video], kind="video")) as said:
            async for message, _ in said:
                yield message.text

    async def _answer(
        self,
        request: gr.Request,
        question: str,
        files: object,
        history: object = None,
        *,
        kind: MediaKind | None = None,
        wanted: Mapping[str, Any] = MappingProxyType({}),
    ) -> AsyncGenerator[tuple[Message, tuple[Media, ...]], None]:
        """The answer as it grows, and the media that it is about; its end alone where only one value is taken. Raises
        Refusal."""
        own = name_for("ovis-call-")
        try:
            given = GivenFiles(self.store, callers.holder(request), own, self.limits)
            try:
                limits = self.limits.for_clips(several=self.backend.status().model.several_clips)
                work = partial(asked, question, files, history, given, limits, kind)
                conversation, system = await _readers.run(work, client=callers.client(request))
                settings = replace(self.backend.status().model.defaults, system=system, **wanted).check()
            except UserError as error:
                raise self._unasked(error, request) from error
            if wanted.get("boxes"):  # which lie in one picture
                stills = tuple(item.still for item in conversation.messages[-1].media)
                conversation = conversation.replace_last(media=stills)
            named = Request(conversation, settings, callers.client(request), id=callers.id_of(request))
            states = _grown(self.backend, named)
            queued = callers.is_queued(request)
            with self.store.reading(callers.holder(request)):
                async with aclosing(driven(states, self.threads)) as steps:
                    async for state in steps:
                        message = state.messages[-1]
                        if message.error:
                            raise Refusal(message.error)
                        if queued or message.finish is not None:
                            yield message, conversation.messages[-1].media
                        elif await callers.left(request):
                            return
        finally:
            shutil.rmtree(own, ignore_errors=True)
            callers.forget(request)

    def _unasked(self, error: UserError, request: gr.Request) -> Refusal:
        self.tell(refused(error, callers.id_of(request)))
        return _refused(error, request)

    async def _located(
        self, picture: Media, boxes: Sequence[Box], request: gr.Request
    ) -> tuple[list[Found], dict[str, Any]]:  # fmt: skip
        """The boxes in pixels, and the picture with them."""
        work = partial(self._draw, picture, boxes, callers.holder(request))
        try:
            path, width, height = await _readers.run(work, client=callers.client(request))
        except UserError as error:
            raise _refused(error, request) from error
        drawn = {"path": str(path), "orig_name": "located.jpg", "mime_type": "image/jpeg"}
        return [_pixels(box, width, height) for box in boxes], {**drawn, "meta": {"_type": "gradio.FileData"}}

    def _draw(self, picture: Media, boxes: Sequence[Box], holder: str) -> tuple[Path, int, int]:
        own = name_for("ovis-call-")
        try:
            with writing():
                own.mkdir(mode=0o700)
            out = own / "located.jpg"
            width, height = draw(picture, boxes, self.limits, out)
            return self.store.put(out.read_bytes(), out.name, holder), width, height
        finally:
            shutil.rmtree(own, ignore_errors=True)


_readers = Readers(6, each=3)


def _refused(error: UserError, request: gr.Request) -> Refusal:
    """What is refused before it is asked, with the status that a direct POST is answered with."""
    if isinstance(request, gr.Request):
        request.state.status = 429 if isinstance(error, Busy) else 507 if isinstance(error, NoRoom) else 400
    return Refusal(str(error))


def _grown(backend: Backend, request: Request) -> Generator[Conversation, None, None]:
    with closing(chat.reply(backend, request)) as states:
        yield from chat.paced(states)


def _pixels(box: Box, width: int, height: int) -> Found:
    left, top, right, bottom = box.pixels(width, height)
    return {"name": box.name, "left": left, "top": top, "right": right, "bottom": bottom}
