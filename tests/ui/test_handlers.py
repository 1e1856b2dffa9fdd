from __future__ import annotations

import errno
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ovis_app import chat
from ovis_app.backends.fake import FakeBackend
from ovis_app.conversation import Conversation, Media, Message, Stats
from ovis_app.generation import GenerationSettings
from ovis_app.limits import Limits
from ovis_app.media import with_copies
from ovis_app.media.file_store import FileStore
from ovis_app.ui import handlers
from ovis_app.ui.handlers import Draft, Held, Tab
from ovis_app.ui.page import EXAMPLES
from ovis_app.zoo import MINI, Example
from tests.media.made_pdf import locked, pdf, quarters

LIMITS = Limits()
PICTURE = (EXAMPLES / "shapes.png", "shapes.png")
CLIP = (EXAMPLES / "clip.mp4", "clip.mp4")
SETTINGS = GenerationSettings()
ANSWERED = Conversation((Message("user", "one"), Message("assistant", "two", finish="end")))


def send(tab: Tab, draft: Draft) -> tuple[Tab, Draft]:
    return handlers.send(tab, draft, limits=LIMITS)


def answered(tab: Tab, backend: FakeBackend | None = None) -> Tab:
    *_, last = handlers.answer(tab, backend=backend or FakeBackend(), settings=SETTINGS)
    return last


def test_a_question_joins_and_the_composer_empties() -> None:
    tab, left = send(Tab(), Draft("hello", (PICTURE,)))
    [question] = tab.conversation.messages
    assert question.text == "hello" and question.media[0].label == "shapes.png"
    assert left.empty and handlers.awaiting(tab.conversation)


def brought(store: FileStore) -> tuple[Path, str]:
    coming = store.begin("mine.png")
    coming.write(PICTURE[0].read_bytes())
    return coming.finish(), "mine.png"


def test_what_people_see_of_their_files_is_a_copy(tmp_path: Path) -> None:
    store = FileStore(tmp_path, LIMITS, show=with_copies)
    mine, files = brought(store), Held(store, "page:a")
    tab, left = handlers.send(Tab(), Draft("hello", (mine,)), limits=LIMITS, files=files)
    [media] = tab.conversation.messages[0].media
    assert media.path == mine[0] and media.shown and media.shown.parent == mine[0].parent and left.empty
    assert media.shown != media.path and media.shown.exists()
    tab, _ = handlers.send(Tab(), Draft("hello", (mine,)), limits=LIMITS, files=Held(store, "page:b"))
    assert tab.notice == "“mine.png” is no longer here: attach it again." and not tab.conversation.messages
    store.close()


def test_a_file_that_cannot_be_kept_leaves_the_draft_and_says_so(tmp_path: Path) -> None:
    def full(*_: object) -> tuple[Media, ...]:
        raise OSError(errno.ENOSPC, str(tmp_path))

    store = FileStore(tmp_path, LIMITS, show=full)
    draft = Draft("what is this?", (brought(store),))
    tab, left = handlers.send(Tab(ANSWERED), draft, limits=LIMITS, files=Held(store, "page:a"))
    assert left == draft and tab.conversation == ANSWERED
    assert "no room for files" in tab.notice and str(tmp_path) not in tab.notice
    store.close()


def test_a_refused_file_leaves_text_and_good_files_and_names_it(tmp_path: Path) -> None:
    bad = tmp_path / "notes.txt"
    bad.write_text("no picture")
    tab, left = send(Tab(ANSWERED), Draft("what is this?", (PICTURE, (bad, "notes.txt"))))
    assert left == Draft("what is this?", (PICTURE,))
    assert "notes.txt" in tab.notice and str(tmp_path) not in tab.notice
    assert tab.conversation == ANSWERED


def test_pictures_and_a_clip_together_are_refused_kindly() -> None:
    tab, left = send(Tab(), Draft("both", (PICTURE, CLIP)))
    assert not tab.conversation.messages and "clip.mp4" in tab.notice and left.files == (PICTURE,)


def test_a_clip_is_refused_where_the_model_sees_pictures_only() -> None:
    tab, left = handlers.send(Tab(), Draft("watch", (CLIP,)), limits=LIMITS, video=False)
    assert "clip.mp4" in tab.notice and "pictures only" in tab.notice and left == Draft("watch")


def test_a_document_is_sent_as_pictures_of_its_first_pages(tmp_path: Path) -> None:
    with closing(FileStore(tmp_path, LIMITS)) as store:
        held = Held(store, "page:a")
        path = store.put(pdf([quarters() for _ in range(20)]), "report.pdf", "page:a")
        draft = Draft("sum it up", ((path, "report.pdf"),))
        tab, left = handlers.send(Tab(), draft, limits=LIMITS, files=held)
        [question] = tab.conversation.messages
        assert [one.label for one in question.media] == [f"report.pdf page {number}" for number in range(1, 17)]
        assert all(store.has(one.path) and "report" not in str(one.path) for one in question.media) and left.empty
        assert tab.notice == "Pages 1-16 of the 20 pages of “report.pdf” fit into one question."
        assert answered(tab).notice == tab.notice
        bad = store.put(locked(quarters(), b"secret"), "locked.pdf", "page:a")
        draft = Draft("and this?", ((bad, "locked.pdf"),))
        tab, left = handlers.send(Tab(ANSWERED), draft, limits=LIMITS, files=held)
        assert left == draft and "is locked with a password" in tab.notice and tab.conversation == ANSWERED


def test_an_animation_is_a_clip_or_where_the_model_sees_pictures_only_one_of_them(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    for video, kind in ((True, "video"), (False, "image")):
        tab, _ = handlers.send(Tab(), Draft("watch", ((path, "a.gif"),)), limits=LIMITS, video=video)
        [media] = tab.conversation.messages[0].media
        assert not tab.notice and (media.kind, media.pictures) == (kind, 3)


def test_nothing_is_sent_while_an_answer_is_coming_or_when_there_is_nothing() -> None:
    busy = Tab(Conversation((Message("user", "one"),)))
    assert send(busy, Draft("two")) == (busy, Draft("two"))
    assert send(Tab(), Draft("  ")) == (Tab(), Draft("  "))


def test_too_much_text_is_refused_and_kept() -> None:
    tab, left = send(Tab(), Draft("x" * 300_000))
    assert "200,000" in tab.notice and len(left.text) == 300_000


def test_a_conversation_ends_somewhere_and_can_then_be_edited_or_left() -> None:
    tab, turns, long = Tab(), 0, Draft("x" * 150_000)
    while not tab.notice:
        tab = handlers.stop(send(tab, long)[0])  # what a stranger may ask for without a model's work
        turns += 1
        assert turns < 100
    assert "new chat" in tab.notice and turns > 5
    assert send(tab, long) == (tab, long)
    example = handlers.ask_example(replace(tab, notice=""), Example("x" * 150_000), folder=EXAMPLES, limits=LIMITS)
    assert example == tab
    editing, _ = handlers.edit(tab, Draft())
    assert not send(editing, Draft("shorter"))[0].notice
    assert not send(handlers.clear(), long)[0].notice


def test_a_conversation_holds_so_many_pictures() -> None:
    picture = Media("image", *PICTURE)
    turn = (Message("user", "one", (picture,) * 16), Message("assistant", "two", finish="end"))
    assert not send(Tab(Conversation(turn * 20)), Draft("more"))[0].notice
    assert "new chat" in send(Tab(Conversation(turn * 100)), Draft("more"))[0].notice


def test_a_good_question_clears_an_old_notice() -> None:
    tab, _ = send(Tab(notice="old"), Draft("hello"))
    assert tab.notice == ""


def test_the_users_turn_comes_before_any_work_and_the_last_state_is_complete() -> None:
    tab, _ = send(Tab(), Draft("hello"))
    backend = FakeBackend()
    states = handlers.answer(tab, backend=backend, settings=SETTINGS)
    assert next(states).conversation.messages[-1].status and not backend.requests
    *_, last = states
    assert last.conversation.messages[-1].finish == "end"
    assert last.conversation.messages[-1].text.startswith("You said: hello")


def test_closing_stops_the_backend_and_keeps_what_was_said() -> None:
    backend = FakeBackend()
    states = handlers.answer(Tab(Conversation((Message("user", "long"),))), backend=backend, settings=SETTINGS)
    shown = next(state for state in states if state.conversation.messages[-1].text)
    states.close()
    assert backend.live == 0
    stopped = handlers.settle(shown).conversation.messages[-1]
    assert stopped.finish == "stopped" and stopped.text


def test_an_answer_needs_a_question() -> None:
    assert list(handlers.answer(Tab(ANSWERED), backend=FakeBackend(), settings=SETTINGS)) == []


@pytest.mark.parametrize("words", ["fail", "crash"])
def test_a_failure_is_a_message_where_the_answer_would_be(words: str) -> None:
    last = answered(send(Tab(), Draft(words))[0]).conversation.messages[-1]
    assert last.error and last.finish == "error" and "scripted" not in last.error


def test_updates_are_paced_but_first_last_and_changes_of_phase_always_come() -> None:
    now = [0.0]

    def clock() -> float:
        return now[0]

    def states():
        conversation = Conversation((Message("assistant", status="s"),))
        yield conversation
        for i in range(100):
            now[0] += 0.01
            conversation = conversation.replace_last(text=conversation.messages[-1].text + f"{i} ", status="")
            yield conversation

    shown = list(chat.paced(states(), clock=clock))
    assert shown[0].messages[-1].status == "s" and shown[1].messages[-1].text == "0 "
    assert shown[-1].messages[-1].text.endswith("99 ")
    assert 14 <= len(shown) <= 20


def test_a_thought_is_timed_while_it_lasts_and_the_backends_figure_wins() -> None:
    now = [0.0]

    def states():
        conversation = Conversation((Message("assistant"),))
        yield conversation
        yield conversation.replace_last(thinking="a")
        now[0] = 2.0
        yield conversation.replace_last(thinking="ab")
        now[0] = 3.0
        yield conversation.replace_last(thinking="ab", text="c")
        now[0] = 9.0
        yield conversation.replace_last(thinking="ab", text="cd")
        yield conversation.replace_last(thinking="ab", text="cd", stats=Stats(thinking_seconds=2.9))

    seconds = [
        s.messages[-1].stats and s.messages[-1].stats.thinking_seconds
        for s in handlers.timed(states(), clock=lambda: now[0])
    ]
    assert seconds == [None, 0.0, 2.0, 3.0, 3.0, 2.9]


def test_a_question_that_never_got_its_turn_says_so() -> None:
    last = handlers.settle(Tab(Conversation((Message("user", "one"),)))).conversation.messages[-1]
    assert last.error == handlers.NO_TURN


def test_stop_in_the_queue_leaves_an_empty_stopped_answer() -> None:
    last = handlers.stop(Tab(Conversation((Message("user", "one"),)))).conversation.messages[-1]
    assert last.finish == "stopped" and not last.error
    assert handlers.settle(Tab(ANSWERED)).conversation == ANSWERED


def test_regenerate_drops_the_answer_and_asks_again() -> None:
    tab = handlers.regenerate(Tab(ANSWERED))
    assert tab.conversation == ANSWERED.until(1)
    assert answered(tab).conversation.messages[-1].text.startswith("You said: one")
    assert handlers.regenerate(Tab()) == Tab()
    assert tab.notice == "" and "raise the temperature" in handlers.regenerate(Tab(ANSWERED), greedy=True).notice


def test_undo_returns_the_question_to_an_empty_composer_only() -> None:
    tab, left = handlers.undo(Tab(ANSWERED), Draft())
    assert not tab.conversation.messages and left.text == "one"
    assert handlers.undo(Tab(ANSWERED), Draft("typed"))[1] == Draft("typed")
    assert handlers.undo(Tab(), Draft("typed")) == (Tab(), Draft("typed"))


def test_edit_keeps_the_attachments_and_the_draft() -> None:
    media = (Media("image", *PICTURE),)
    asked = Conversation((Message("user", "one", media), Message("assistant", "two", finish="end")))
    tab, draft = handlers.edit(Tab(asked), Draft("half a thought"))
    assert draft == Draft("one", (PICTURE,)) and tab.editing == 0 and tab.conversation == asked
    after, left = send(tab, Draft("changed", draft.files))
    assert after.conversation == Conversation((Message("user", "changed", media),))
    assert left == Draft("half a thought") and after.editing is None


def test_leaving_an_edit_changes_nothing() -> None:
    tab, _ = handlers.edit(Tab(ANSWERED), Draft("draft"))
    twice, _ = handlers.edit(tab, Draft("one, edited"))
    assert handlers.leave_edit(twice) == (Tab(ANSWERED), Draft("draft"))


def test_the_examples_of_the_embedded_model_can_all_be_asked() -> None:
    for example in MINI.examples:
        tab = handlers.ask_example(Tab(), example, folder=EXAMPLES, limits=LIMITS)
        assert not tab.notice and len(tab.conversation.messages[0].media) == len(example.media)


def test_an_example_without_its_file_says_so() -> None:
    tab = handlers.ask_example(Tab(), Example("x", ("gone.png",)), folder=EXAMPLES, limits=LIMITS)
    assert "gone.png" in tab.notice and not tab.conversation.messages
