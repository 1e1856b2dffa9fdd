"""What asks, what answers and what stops: from a question's events to the end of its answer."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from ovis_app.backend import Backend
from ovis_app.errors import Busy, MediaError
from ovis_app.limits import Limits
from ovis_app.media.file_store import FileStore, session_holder
from ovis_app.ui import handlers, render
from ovis_app.ui.aside import aside
from ovis_app.ui.components import EXAMPLES, Components
from ovis_app.ui.controls import settings_from
from ovis_app.ui.handlers import Held, Tab
from ovis_app.ui.http_bodies import FILES_A_TURN
from ovis_app.ui.panels import conversation
from ovis_app.ui.wiring.events import AT_ONCE, DONE, NOTHING, PRIVATE, Updates, draft_in, shown
from ovis_app.zoo import Example, ModelSpec

PATHS = "(value) => (value?.files ?? []).map((file) => file.path).join('\\n')"


def wire(parts: Components, backend: Backend, limits: Limits, store: FileStore, *, at_once: int) -> None:
    """`at_once` answers may be asked for at once; the others wait in Gradio's queue."""
    tab, box = parts.tab, parts.composer.box

    async def send(state: Tab, value: dict[str, Any] | None, request: gr.Request) -> Updates:
        draft, spec, whose = draft_in(value, store), backend.status().model, session_holder(request.session_hash)
        work = partial(
            handlers.send, state, draft, limits=_of(spec, limits), video=spec.video, files=Held(store, whose)
        )
        try:
            after, left = await aside(work, client=client_of(request)) if draft.files else work()
        except Busy as error:
            after, left = replace(state, notice=str(error)), draft
        return shown(parts, after, None if left == draft else left)

    def bring(paths: str, request: gr.Request) -> None:
        """What stands in the box is its session's from now on, and goes with it though it is never sent."""
        for path in paths.splitlines()[: FILES_A_TURN * limits.files_per_turn]:
            with suppress(MediaError):
                store.claim(Path(path), session_holder(request.session_hash))

    def regenerate(state: Tab, temperature: object) -> Updates:
        return shown(parts, handlers.regenerate(state, greedy=temperature == 0))

    async def example(state: Tab, model: ModelSpec, event: gr.SelectData, request: gr.Request) -> Updates:
        chosen = _example(model, event.index)
        if chosen is None:
            return NOTHING
        work = partial(handlers.ask_example, state, chosen, folder=EXAMPLES, limits=limits)
        try:
            asked = await aside(work, client=client_of(request))
        except Busy as error:
            return shown(parts, replace(state, notice=str(error)))
        after = shown(parts, asked)
        return after | {parts.composer.switches["thinking"]: True} if chosen.thinking else after

    again = [tab, parts.drawer.sliders["temperature"]]
    box.change(None, [box], [parts.composer.brought], js=PATHS)
    parts.composer.brought.change(bring, [parts.composer.brought], None, **AT_ONCE)
    box.submit(None, js="() => window.ovis.checking(true)")
    starts = [
        box.submit(send, [tab, box], parts.shown, **AT_ONCE),
        parts.composer.regenerate.click(regenerate, again, parts.shown, **AT_ONCE),
        parts.chatbot.option_select(regenerate, again, parts.shown, **AT_ONCE),
        parts.chatbot.example_select(
            example, [tab, parts.model], [*parts.shown, parts.composer.switches["thinking"]], **AT_ONCE
        ),
    ]
    answers: list[Any] = [_answered(start, parts, backend, store, at_once) for start in starts]
    # First the answer is cancelled, then the tab changes: nothing that was still under way may come after.
    halted = box.stop(None, cancels=answers)
    stopped = halted.then(lambda state: shown(parts, handlers.stop(state)), [tab], parts.shown, **AT_ONCE)
    stopped.then(None, js=DONE)
    cancelled = parts.header.new_chat.click(None, cancels=answers)
    cleared = cancelled.then(lambda: shown(parts, handlers.clear()), None, parts.shown, **AT_ONCE)
    cleared.then(None, js="() => { window.ovis.checking(false); window.ovis.focus(); }")


def _answered(start: Any, parts: Components, backend: Backend, store: FileStore, at_once: int) -> Any:
    inputs = parts.settings_inputs()

    def answer(
        state: Tab, model: ModelSpec, request: gr.Request, *values: Any
    ) -> Generator[Updates, None, None]:  # fmt: skip
        spec = backend.status().model
        given = dict(zip(inputs, values, strict=True))
        if model != spec:  # the sliders stand for the model before
            given = {name: value for name, value in given.items() if name not in parts.drawer.sliders}
        wanted = settings_from(spec, given)
        states = handlers.answer(state, backend=backend, settings=wanted, client=client_of(request))
        with store.reading(session_holder(request.session_hash)), closing(states):
            for after in states:
                yield {parts.tab: after, parts.chatbot: render.messages(after.conversation)}

    def settle(state: Tab) -> Updates:
        # A tab that was cleared meanwhile has nothing to settle, and mustn't be shown again as it was before.
        return shown(parts, handlers.settle(state)) if state.conversation.messages else NOTHING

    answered = start.then(
        answer,
        [parts.tab, parts.model, *inputs.values()],
        [parts.tab, parts.chatbot],
        concurrency_id="answers",
        concurrency_limit=at_once,
        **PRIVATE,
    )
    answered.then(settle, [parts.tab], parts.shown, **AT_ONCE).then(None, js=DONE)
    return answered


def client_of(request: gr.Request) -> str:
    """Who asks: where they are, if that is known, since a session's name anybody may make up."""
    visitor = getattr(request.state, "visitor", "")
    return f"address:{visitor}" if visitor else f"page:{request.session_hash}"


def _of(spec: ModelSpec, limits: Limits) -> Limits:
    """The limits for a model: some look at one picture only."""
    return limits if spec.several_images else replace(limits, files_per_turn=1)


def _example(spec: ModelSpec, index: object) -> Example | None:
    return next((one for place, one in enumerate(conversation.offered(spec, EXAMPLES)) if place == index), None)
