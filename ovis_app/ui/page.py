"""The page: panels, then wiring.

Holds no logic: what a button does is in handlers, how it looks in panels and static.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from ovis_app.generation import Backend
from ovis_app.media import Limits
from ovis_app.settings import Settings
from ovis_app.ui import components, handlers, http_guard, render
from ovis_app.ui.aside import aside
from ovis_app.ui.components import EXAMPLES, Parts
from ovis_app.ui.controls import all_knobs, recommended, settings_from
from ovis_app.ui.handlers import Draft, Tab
from ovis_app.ui.panels import conversation
from ovis_app.ui.theme import theme
from ovis_app.ui.wiring import models
from ovis_app.zoo import Example, ModelSpec

STATIC = Path(__file__).parent / "static"
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
AT_ONCE: dict[str, Any] = PRIVATE | {"queue": False}  # events that only touch the page
DONE = "() => window.ovis.checking(false)"  # all that follows from a question, or from its refusal, is over
_VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1, interactive-widget=resizes-content">'


def build(backend: Backend, settings: Settings, limits: Limits) -> gr.Blocks:
    """The page over this backend."""
    # Served where they lie: otherwise Gradio would hash every picture of the conversation at every update.
    gr.set_static_paths([get_upload_folder(), EXAMPLES])
    page: gr.Blocks = gr.Blocks(
        title="Ovis", fill_height=True, fill_width=True, analytics_enabled=False, delete_cache=(3600, 86400)
    )
    with page:
        whole = components.build(backend.status())
        _wire_answers(whole, backend, limits, settings.at_once)
        _wire_page(whole, backend)
        models.wire(page, whole, backend, settings=settings, at_once=AT_ONCE)
        _wire_program(backend, limits, settings.at_once)
    page.queue(max_size=settings.queue_size, api_open=False)
    return page


def launch_options(settings: Settings, limits: Limits) -> dict[str, Any]:
    """What belongs to `launch()`: looks, limits, and what stays switched off."""
    # In the head, since Gradio rewrites the selectors of `css`, and these are about the frame of the page too.
    script, style = ((STATIC / name).read_text("utf-8") for name in ("page.js", "page.css"))
    return {
        "server_name": settings.server_name,
        "server_port": settings.port,
        "share": settings.share,
        "theme": theme(),
        "head": f"{_VIEWPORT}<style>{style}</style><script>{script}</script>",
        "max_file_size": max(limits.image_bytes, limits.video_bytes),
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "show_error": False,
        "ssr_mode": False,
        "state_session_capacity": 200,
        "max_threads": 40 + settings.at_once,  # each answer holds one
        "app_kwargs": {"middleware": [http_guard.middleware(settings, limits, [EXAMPLES])]},
    }


def _wire_answers(parts: Parts, backend: Backend, limits: Limits, at_once: int) -> None:
    tab, box = parts.tab, parts.composer.box

    async def send(state: Tab, value: dict[str, Any] | None) -> list[Any]:
        draft, spec = _draft(value), backend.status().model
        work = partial(handlers.send, state, draft, limits=_of(spec, limits), video=spec.video)
        after, left = await aside(work) if draft.files else work()
        return _show(after, None if left == draft else left)

    def regenerate(state: Tab) -> list[Any]:
        return _show(handlers.regenerate(state))

    async def example(state: Tab, shown: ModelSpec, event: gr.SelectData) -> list[Any]:
        chosen = _example(shown, event.index)
        if chosen is None:
            return [gr.skip()] * (len(parts.shown) + 1)
        after = await aside(partial(handlers.ask_example, state, chosen, folder=EXAMPLES, limits=limits))
        return [*_show(after), True if chosen.thinking else gr.skip()]

    box.submit(None, js="() => window.ovis.checking(true)")
    starts = [
        box.submit(send, [tab, box], parts.shown, **AT_ONCE),
        parts.composer.regenerate.click(regenerate, [tab], parts.shown, **AT_ONCE),
        parts.chatbot.option_select(regenerate, [tab], parts.shown, **AT_ONCE),
        parts.chatbot.example_select(
            example, [tab, parts.model], [*parts.shown, parts.composer.switches["thinking"]], **AT_ONCE
        ),
    ]
    answers: list[Any] = [_answered(start, parts, backend, at_once) for start in starts]
    # First the answer is cancelled, then the tab changes: nothing that was still under way may come after.
    halted = box.stop(None, cancels=answers)
    stopped = halted.then(lambda state: _show(handlers.stop(state)), [tab], parts.shown, **AT_ONCE)
    stopped.then(None, js=DONE)
    cancelled = parts.header.new_chat.click(None, cancels=answers)
    cleared = cancelled.then(lambda: _show(handlers.clear()), None, parts.shown, **AT_ONCE)
    cleared.then(None, js="() => { window.ovis.checking(false); window.ovis.focus(); }")


def _of(spec: ModelSpec, limits: Limits) -> Limits:
    """The limits for a model: some look at one picture only."""
    return limits if spec.several_images else replace(limits, files_per_turn=1)


def _example(spec: ModelSpec, index: object) -> Example | None:
    return next((one for place, one in enumerate(conversation.offered(spec, EXAMPLES)) if place == index), None)


def _answered(start: Any, parts: Parts, backend: Backend, at_once: int) -> Any:
    inputs = parts.settings_inputs()

    def answer(state: Tab, shown: ModelSpec, *values: Any) -> Generator[list[Any], None, None]:
        spec = backend.status().model
        given = dict(zip(inputs, values, strict=True))
        if shown != spec:  # the sliders stand for the model before
            given = {name: value for name, value in given.items() if name not in parts.drawer.sliders}
        wanted = settings_from(spec, given)
        with closing(handlers.answer(state, backend=backend, settings=wanted)) as states:
            for after in states:
                yield [after, render.messages(after.conversation)]

    def settle(state: Tab) -> list[Any]:
        # A tab that was cleared meanwhile has nothing to settle, and mustn't be shown again as it was before.
        return _show(handlers.settle(state)) if state.conversation.messages else [gr.skip()] * len(parts.shown)

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


def _wire_page(parts: Parts, backend: Backend) -> None:
    tab, c = parts.tab, parts.composer

    def edit(state: Tab, value: dict[str, Any] | None) -> list[Any]:
        return _show(*handlers.edit(state, _draft(value)))

    def undo(state: Tab, value: dict[str, Any] | None) -> list[Any]:
        return _show(*handlers.undo(state, _draft(value)))

    def reset() -> list[Any]:
        spec = backend.status().model
        return [*(recommended(spec, knob) for knob in all_knobs(spec)), False, ""]

    c.edit.click(edit, [tab, c.box], parts.shown, **AT_ONCE).then(None, js="() => window.ovis.focus()")
    c.undo.click(undo, [tab, c.box], parts.shown, **AT_ONCE)
    c.leave_edit.click(lambda state: _show(*handlers.leave_edit(state)), [tab], parts.shown, **AT_ONCE)
    d = parts.drawer
    d.reset.click(reset, None, [*d.sliders.values(), d.drop, d.system], **AT_ONCE)
    for button in (parts.header.settings, d.close):
        button.click(None, js="() => window.ovis.toggle('settings')")
    parts.header.theme.click(None, js="() => window.ovis.toggleTheme()")


def _wire_program(backend: Backend, limits: Limits, at_once: int) -> None:
    question = gr.Textbox(visible=False, label="question")
    files = gr.File(visible=False, label="files", file_count="multiple")
    text = gr.Textbox(visible=False, label="answer")
    trigger = gr.Button(visible=False)

    def chat(question: str, files: list[str] | None) -> Generator[str, None, None]:
        """Asks one question about pictures or a clip; the answer grows."""
        paths = [Path(path) for path in files or ()]
        defaults = backend.status().model.defaults
        for message in handlers.ask_once(question, paths, backend=backend, settings=defaults, limits=limits):
            if message.error:
                raise gr.Error(message.error, print_exception=False)
            yield message.text

    trigger.click(
        chat,
        [question, files],
        text,
        api_name="chat",
        show_progress="hidden",
        concurrency_id="answers",
        concurrency_limit=at_once,
    )


def _show(tab: Tab, draft: Draft | None = None) -> list[Any]:
    """Every output that follows from a tab. `draft` is what the composer should hold; None leaves it alone."""
    busy = handlers.awaiting(tab.conversation)
    can = gr.update(interactive=tab.conversation.last_user() is not None and not busy)
    box: dict[str, Any] = {"submit_btn": not busy, "stop_btn": busy}
    if draft is not None:
        box["value"] = {"text": draft.text, "files": [_uploaded(path, name) for path, name in draft.files]}
    notice = "Editing your question. Sending it replaces the answer." if tab.editing is not None else tab.notice
    return [
        tab,
        render.messages(tab.conversation),
        gr.update(**box),
        f'<p role="status">{render.escaped(notice)}</p>' if notice else "",
        gr.update(visible=tab.editing is not None),
        can,
        can,
        can,
    ]


def _draft(value: dict[str, Any] | None) -> Draft:
    value = value or {}
    files = tuple((Path(path), Path(path).name) for path in value.get("files") or ())
    return Draft(value.get("text") or "", files)


def _uploaded(path: Path, name: str) -> gr.FileData:
    return gr.FileData(path=str(path), orig_name=name, mime_type=mimetypes.guess_type(name)[0])
