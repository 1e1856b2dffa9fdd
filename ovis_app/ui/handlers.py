"""What the buttons do: a tab's state goes in, its next state comes out.

Knows the conversation, the backend's contract and the limits on uploads. Knows no Gradio component.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ovis_app import chat
from ovis_app.backend import Backend
from ovis_app.conversation import Conversation, Media, Message, Stats
from ovis_app.errors import MediaError
from ovis_app.generation import MAX_TEXT, GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.media import PageChoice, attach_all, with_pages
from ovis_app.media.attach import File
from ovis_app.media.file_store import FileStore
from ovis_app.media.incoming_file import writing
from ovis_app.zoo import Example

# What one conversation may hold. Every update of the page sends all of it, with everybody waiting meanwhile.
MOST_TEXT = 1_000_000  # characters, of answers and thoughts too
MOST_PARTS = 1_000  # messages and files
FULL = "This conversation is as long as one can be: start a new chat, or edit your last question to replace it."
NO_TURN = "This question didn't get its turn: it was stopped in the queue, or too many others were waiting."

SAME_WORDS = "At temperature 0 the same question gets the same words: raise the temperature in the settings for others."


@dataclass(frozen=True)
class Draft:
    """What stands in the composer: text and the files next to it, as (path, name)."""

    text: str = ""
    files: tuple[tuple[Path, str], ...] = ()

    @property
    def empty(self) -> bool:
        return not self.text.strip() and not self.files


@dataclass(frozen=True)
class Tab:
    """All that one browser tab has: its conversation, and what it is in the middle of."""

    conversation: Conversation = field(default_factory=Conversation)
    editing: int | None = None  # index of the question that the composer will replace
    kept: Draft = field(default_factory=Draft)  # what was being typed before an edit began
    notice: str = ""  # one sentence above the composer


@dataclass(frozen=True)
class Held:
    """The files of a store that are one holder's, and everybody's: the examples in `own`."""

    store: FileStore
    holder: str
    own: Path | None = None

    def mine(self, files: Sequence[File]) -> tuple[tuple[File, ...], tuple[str, ...]]:
        """Those of them that this holder may use, and a sentence for each of the others."""
        mine, lost = [], []
        for path, name in files:
            try:
                found = path if path.parent == self.own else self.store.claim(path, self.holder, name)
                mine.append((found, name))
            except MediaError as error:
                lost.append(str(error))
        return tuple(mine), tuple(lost)

    def paged(self, files: Sequence[File], limits: Limits) -> tuple[list[File], list[str]]:
        """The files with each PDF as pictures of its first pages, and what is to be said of them. Raises MediaError."""
        if not files:
            return [], []
        with writing(), TemporaryDirectory(prefix="ovis-", ignore_cleanup_errors=True) as folder:
            found, notes = with_pages(files, Path(folder), limits, PageChoice(partly=True))
            given = {path for path, _ in files}
            return [file if file[0] in given else self._put(*file) for file in found], notes

    def _put(self, path: Path, name: str) -> File:
        return self.store.put(path.read_bytes(), name, self.holder), name

    def kept(self, media: Sequence[Media]) -> tuple[Media, ...]:
        """The same files with the copies that people see. Raises MediaError."""
        return self.store.keep(media, self.holder)


def awaiting(conversation: Conversation) -> bool:
    """Whether a question stands without a finished answer."""
    last = conversation.messages[-1] if conversation.messages else None
    return last is not None and (last.role == "user" or (last.role == "assistant" and last.finish is None))


def send(
    tab: Tab, draft: Draft, *, limits: Limits, video: bool = True, files: Held | None = None
) -> tuple[Tab, Draft]:  # fmt: skip
    """The question joins the conversation and the composer empties; or, when something can't be sent, the composer
    keeps the text and the good files, and the notice says what was refused. With `files` only what this holder brought
    can be sent."""
    if awaiting(tab.conversation) or draft.empty:
        return tab, draft
    if len(draft.text) > MAX_TEXT:
        return replace(tab, notice=f"That is more text than fits: at most {MAX_TEXT:,} characters, please."), draft
    mine, lost = files.mine(draft.files) if files is not None else (draft.files, ())
    try:
        paged, notes = files.paged(mine, limits) if files is not None else (mine, [])
    except MediaError as error:
        return replace(tab, notice=str(error)), draft
    media, refused = attach_all(paged, limits)
    refused = (*lost, *refused)
    media = media if video else tuple(item.still for item in media)
    if not video and any(item.kind == "video" for item in media):
        refused = (*refused, *(f"“{item.label}” is a clip, and this model looks at pictures only." for item in media))
        media = ()
    if refused:
        good = tuple((item.path, item.label) for item in media)
        return replace(tab, notice=" ".join(refused)), Draft(draft.text, good)
    try:
        media = files.kept(media) if files is not None else media
    except MediaError as error:
        return replace(tab, notice=str(error)), draft
    before = tab.conversation if tab.editing is None else tab.conversation.until(tab.editing)
    conversation = before.add(Message("user", draft.text, media))
    return (
        (replace(tab, notice=FULL), draft)
        if _full(conversation)
        else (Tab(conversation, notice=" ".join(notes)), tab.kept)
    )


def _full(conversation: Conversation) -> bool:
    said = conversation.messages
    return (
        sum(len(message.text) + len(message.thinking) for message in said) > MOST_TEXT
        or sum(1 + len(message.media) for message in said) > MOST_PARTS
    )


def answer(
    tab: Tab,
    *,
    backend: Backend,
    settings: GenerationSettings,
    client: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Tab, None, None]:
    """The tab while its last question is answered, at most about 16 times a second. `client` is whose tab it is.
    Closing this stops the answer."""
    if not tab.conversation.messages or tab.conversation.messages[-1].role != "user":
        return
    with closing(chat.reply(backend, Request(tab.conversation, settings, client))) as states:
        for conversation in chat.paced(timed(states, clock=clock), clock=clock):
            yield replace(tab, conversation=conversation)


def timed(states: Iterator[Conversation], *, clock: Callable[[], float]) -> Iterator[Conversation]:
    """The same conversations, with the seconds that the last message has been thinking until its figures arrive."""
    began: float | None = None
    ended: float | None = None
    for conversation in states:
        last = conversation.messages[-1]
        if last.thinking and began is None:
            began = clock()
        if last.text and began is not None and ended is None:
            ended = clock()
        if began is not None and (last.stats is None or last.stats.thinking_seconds is None):
            seconds = (ended or clock()) - began
            stats = replace(last.stats or Stats(), thinking_seconds=seconds)
            conversation = conversation.replace_last(stats=stats)
        yield conversation


def settle(tab: Tab) -> Tab:
    """The tab after its answer ended, however it ended: finished, stopped, or never begun."""
    conversation = tab.conversation
    if conversation.messages and conversation.messages[-1].role == "user":
        return replace(tab, conversation=conversation.add(Message("assistant", error=NO_TURN, finish="error")))
    return replace(tab, conversation=chat.stopped(conversation))


def stop(tab: Tab) -> Tab:
    """The tab after Stop: what was said stays, and a question that was still waiting stays with an empty answer."""
    conversation = tab.conversation
    if conversation.messages and conversation.messages[-1].role == "user":
        conversation = conversation.add(Message("assistant"))
    return replace(tab, conversation=chat.stopped(conversation))


def regenerate(tab: Tab, *, greedy: bool = False) -> Tab:
    """The last question again, without its answer. `greedy` is whether the model always takes the likeliest word."""
    last = tab.conversation.last_user()
    if last is None or awaiting(tab.conversation):
        return tab
    return Tab(tab.conversation.until(last + 1), notice=SAME_WORDS if greedy else "")


def undo(tab: Tab, draft: Draft) -> tuple[Tab, Draft]:
    """Without the last question and its answer; the question returns to the composer if that is empty."""
    last = tab.conversation.last_user()
    if last is None or awaiting(tab.conversation):
        return tab, draft
    question = tab.conversation.messages[last]
    return Tab(tab.conversation.until(last)), draft_of(question) if draft.empty else draft


def edit(tab: Tab, draft: Draft) -> tuple[Tab, Draft]:
    """The last question with its attachments in the composer; sending it replaces it and its answer."""
    last = tab.conversation.last_user()
    if last is None or awaiting(tab.conversation):
        return tab, draft
    kept = tab.kept if tab.editing is not None else draft
    return Tab(tab.conversation, editing=last, kept=kept), draft_of(tab.conversation.messages[last])


def leave_edit(tab: Tab) -> tuple[Tab, Draft]:
    """As before the edit, with what was being typed then."""
    return Tab(tab.conversation), tab.kept


def clear() -> Tab:
    """A new chat."""
    return Tab()


def ask_example(tab: Tab, example: Example, *, folder: Path, limits: Limits) -> Tab:
    """The example's question, sent. The composer isn't touched."""
    if awaiting(tab.conversation):
        return tab
    files = [(folder / name, name) for name in example.media]
    media, refused = attach_all(files, limits)
    if refused:
        return replace(tab, notice=" ".join(refused))
    conversation = tab.conversation.add(Message("user", example.text, media))
    return replace(tab, notice=FULL) if _full(conversation) else Tab(conversation)


def draft_of(question: Message) -> Draft:
    """A question as it stood in the composer."""
    return Draft(question.text, tuple((item.path, item.label) for item in question.media))
