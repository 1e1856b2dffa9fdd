"""Another model for everybody: what is running ends first, what is asked meanwhile is answered by the new one, and
where that can't be loaded the old one is back. On tiny checkpoints of three generations."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ovis_app import chat, zoo
from ovis_app.backends.local import model_pool
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.checkpoints import checkpoint, memory_fit, tokenizer
from ovis_app.checkpoints.hub import Progress
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.conversation import Conversation, Media, Message
from ovis_app.engine.answer import RunningAnswer
from ovis_app.engine.engine import Engine
from ovis_app.errors import BackendError
from ovis_app.generation import Answer, Done, Event, GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.zoo import ModelSpec
from tests.backends.local_asking import answer, picture
from tests.threads import none_begins
from tests.waiting import PATIENCE, until

__all__ = ["picture"]  # a fixture

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
FOLDERS = {name: GOLDEN / name / "public-a" / "checkpoint" for name in ("ovis2.5", "ovis2", "ovis1.6")}
SHORT = GenerationSettings(max_new_tokens=32)


@pytest.fixture
def backend() -> Iterator[LocalBackend]:
    with closing(LocalBackend(Settings(model=str(FOLDERS["ovis2.5"]), device="cpu"), Limits())) as here:
        yield here


def ask(text: str, *media: Media, settings: GenerationSettings = SHORT) -> Request:
    return Request(Conversation((Message("user", text, media),)), settings)


def changed(backend: LocalBackend, name: str | Path) -> None:
    """Changes the model and waits for the end of that, and of answers before it."""
    backend.change(str(name))
    until(lambda: backend.status().change is None and backend.status().phase != "answering")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The ids of each answer: tiny random models say much that is no text."""
    answers: list[list[int]] = []
    whole = Engine.answer

    def listening(*args: object, **options: object) -> RunningAnswer:
        answered = whole(*args, **options)  # type: ignore[arg-type]
        answers.append(answered.ids.tolist())
        return answered

    monkeypatch.setattr(Engine, "answer", listening)
    return answers


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer ends by itself."""
    monkeypatch.setattr(tokenizer, "ending_of", lambda *_: Ending((703,), 608))


@pytest.mark.parametrize("name", ["ovis2", "ovis1.6"])
def test_after_a_change_the_other_model_answers_in_its_own_words(
    backend: LocalBackend, picture: Media, said: list[list[int]], name: str
) -> None:
    answer(backend, ask("What is it?", picture))
    changed(backend, FOLDERS[name])
    status = backend.status()
    assert status.model.id == str(FOLDERS[name]) and status.phase == "ready" and status.problem == ""
    answer(backend, ask("What is it?", picture))
    with closing(LocalBackend(Settings(model=str(FOLDERS[name]), device="cpu"), Limits())) as fresh:
        answer(fresh, ask("What is it?", picture))
    changed(backend, FOLDERS["ovis2.5"])
    answer(backend, ask("What is it?", picture))
    first, second, anew, again = said
    assert second == anew != first == again


def test_only_the_model_that_answers_stays_in_memory(backend: LocalBackend) -> None:
    answer(backend, ask("Hi"))
    changed(backend, FOLDERS["ovis2"])
    assert len(model_pool._models) == 1


def test_a_conversation_goes_on_with_the_other_model(backend: LocalBackend, picture: Media) -> None:
    *_, talk = chat.reply(backend, ask("What is it?", picture))
    changed(backend, FOLDERS["ovis2"])
    *_, more = chat.reply(backend, Request(talk.add(Message("user", "And now?")), SHORT))
    last = more.messages[-1]
    assert last.error == "" and last.stats is not None and last.stats.visual_tokens > 0


def test_the_running_answer_ends_first(backend: LocalBackend, endless: None) -> None:
    with closing(backend.stream(ask("go on", settings=GenerationSettings(max_new_tokens=400)))) as events:
        wait_for_text(events)
        backend.change(str(FOLDERS["ovis2"]))
        until(lambda: (change := backend.status().change) is not None and "running answers" in change.words)
        wait_for_text(events)  # it goes on
        assert backend.status().model.id == str(FOLDERS["ovis2.5"])
    until(lambda: backend.status().change is None)
    assert backend.status().model.id == str(FOLDERS["ovis2"])


def wait_for_text(events: Iterator[Event]) -> None:
    next(event for event in events if isinstance(event, Answer))


def test_what_is_asked_meanwhile_is_answered_by_the_new_model(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, said: list[list[int]]
) -> None:
    answer(backend, ask("warm up"))
    begun, go_on = threading.Event(), threading.Event()
    whole = model_pool.load_weights

    def held(*args: object, **options: object) -> object:
        begun.set()
        assert go_on.wait(PATIENCE)
        return whole(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(model_pool, "load_weights", held)
    backend.change(str(FOLDERS["ovis2"]))
    assert begun.wait(PATIENCE)
    with closing(backend.stream(ask("Hi"))) as events:
        assert "Loading" in next(events).note  # type: ignore[union-attr]
        go_on.set()
        list(events)
    with closing(LocalBackend(Settings(model=str(FOLDERS["ovis2"]), device="cpu"), Limits())) as fresh:
        answer(fresh, ask("Hi"))
    assert said[-2] == said[-1]


@pytest.mark.parametrize("harm", ["weights", "tokenizer", "config"])
def test_what_can_be_known_of_a_checkpoint_is_known_before_the_present_model_goes(
    backend: LocalBackend, tmp_path: Path, harm: str
) -> None:
    answer(backend, ask("Hi"))
    present = list(model_pool._models.values())
    broken = tmp_path / "broken"
    shutil.copytree(FOLDERS["ovis2"], broken)
    if harm == "weights":
        (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:5000])
    elif harm == "tokenizer":
        for name in tokenizer.FILES:
            (broken / name).unlink(missing_ok=True)
    else:
        (broken / "config.json").write_text('{"model_type": "llama"}')
    changed(backend, broken)
    status = backend.status()
    assert status.problem.endswith(".") and str(tmp_path) not in status.problem
    assert status.model.id == str(FOLDERS["ovis2.5"]) and status.phase == "ready"
    assert list(model_pool._models.values()) == present


def test_where_the_new_model_cannot_be_loaded_the_old_one_is_back(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, picture: Media
) -> None:
    first = answer(backend, ask("What is it?", picture)).text
    whole = model_pool.load_weights

    def failing(folder: Path, *rest: object, **options: object) -> object:
        if "ovis2.5" in str(folder):
            return whole(folder, *rest, **options)  # type: ignore[arg-type]
        raise BackendError("The disk is gone: put it back.")

    with monkeypatch.context() as patch:
        patch.setattr(model_pool, "load_weights", failing)
        changed(backend, FOLDERS["ovis2"])
    assert backend.status().problem == "The disk is gone: put it back. checkpoint answers again."
    assert backend.status().phase == "ready"
    assert answer(backend, ask("What is it?", picture)).text == first
    changed(backend, FOLDERS["ovis2"])
    assert backend.status().problem == "" and backend.status().model.id == str(FOLDERS["ovis2"])


def test_a_name_of_nothing_is_a_sentence(backend: LocalBackend) -> None:
    changed(backend, "no-such-model")
    assert "no model called no-such-model" in backend.status().problem
    assert answer(backend, ask("Hi")).error == ""


def test_a_change_that_no_thread_begins_is_none(backend: LocalBackend) -> None:
    with none_begins("ovis-fetch"), pytest.raises(RuntimeError):
        backend.change(str(FOLDERS["ovis2"]))
    assert backend.status().change is None
    changed(backend, FOLDERS["ovis2"])
    assert backend.status().model.id == str(FOLDERS["ovis2"])


def test_a_change_that_waits_for_answers_is_cancelled_at_once(backend: LocalBackend, endless: None) -> None:
    with closing(backend.stream(ask("go on", settings=GenerationSettings(max_new_tokens=400)))) as events:
        wait_for_text(events)
        backend.change(str(FOLDERS["ovis2"]))
        until(lambda: (change := backend.status().change) is not None and "running answers" in change.words)
        present = list(model_pool._models.values())
        backend.cancel_change()
        assert backend.status().change is None
        wait_for_text(events)
    until(lambda: backend.status().phase == "ready")
    assert list(model_pool._models.values()) == present and backend.status().model.id == str(FOLDERS["ovis2.5"])


def test_a_cancelled_change_leaves_the_first_loading_alone(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first model loads, another is asked for and cancelled: the question that waits gets its answer."""
    go_on = threading.Event()
    whole = model_pool._load
    model_pool.release()

    def slow(ready: model_pool.Ready, progress: Progress) -> object:
        while not go_on.wait(0.01):
            progress("Loading slowly", 0.5)
        return whole(ready, progress)

    def fetch(spec: ModelSpec, progress: Progress) -> Path:
        while spec.id != str(FOLDERS["ovis2.5"]):
            progress("Downloading something", 0.1)
            time.sleep(0.01)
        return FOLDERS["ovis2.5"]

    monkeypatch.setattr(model_pool, "_load", slow)
    monkeypatch.setattr(model_pool, "folder_of", fetch)
    with closing(backend.stream(ask("Hi"))) as events:
        next(events)
        until(lambda: backend.status().words == "Loading slowly")
        backend.change(str(FOLDERS["ovis2"]))
        until(lambda: (change := backend.status().change) is not None and change.share == 0.1)
        assert backend.status().words == "Loading slowly"
        backend.cancel_change()
        until(lambda: backend.status().change is None)
        go_on.set()
        assert isinstance(list(events)[-1], Done)
    until(lambda: backend.status().phase == "ready")


@pytest.mark.parametrize("where", ["fetching", "loading"])
def test_a_change_can_be_cancelled_and_begun_again(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Whoever fetches or loads tells how far it is, again and again, and is ended there."""
    first = answer(backend, ask("Hi")).text

    def slow(_: object, progress: Progress) -> object:
        for share in range(10_000):
            progress("Downloading", share / 10_000)
            time.sleep(0.002)
        pytest.fail("nobody ended it")

    with monkeypatch.context() as patch:
        if where == "fetching":
            patch.setattr(model_pool, "folder_of", slow)
        else:
            whole = model_pool._load

            def some(ready: model_pool.Ready, progress: Progress) -> object:
                return (slow if "2.5" not in ready.spec.id else whole)(ready, progress)

            patch.setattr(model_pool, "_load", some)
        backend.change(str(FOLDERS["ovis2"]))
        until(lambda: (change := backend.status().change) is not None and (change.share or 0) > 0.001)
        with pytest.raises(BackendError, match="on its way"):
            backend.change(str(FOLDERS["ovis1.6"]))
        backend.cancel_change()
        until(lambda: backend.status().change is None)
    assert backend.status().problem == "" and answer(backend, ask("Hi")).text == first
    changed(backend, FOLDERS["ovis2"])
    assert backend.status().model.id == str(FOLDERS["ovis2"])


def test_a_model_that_is_too_big_is_refused_at_once_with_what_would_fit(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(backend, ask("Hi"))
    monkeypatch.setattr(memory_fit, "bytes_available", lambda *_: int(8e9))
    with pytest.raises(BackendError, match=r"Ovis2-34B needs about .* GB are free: .*try Ovis"):
        backend.change("Ovis2-34B")
    assert backend.status().change is None
    verdicts = {offer.model.name: offer.verdict for offer in backend.offers()}
    assert verdicts["Ovis2-34B"] == "too big" and verdicts["Ovis-mini"] == "fits"
    assert verdicts["Ovis2-4B"] == "too big" and verdicts["Ovis2-4B-GPTQ-Int4"] != "too big"


def test_old_turns_are_left_out_only_where_that_was_asked_for(backend: LocalBackend) -> None:
    model_pool.release()
    backend._spec = replace(backend.spec, context=1000)
    turns = [Message("user", "word " * 100), Message("assistant", "Yes.", finish="end")]
    talk = Conversation((*turns * 5, Message("user", "And now?")))
    refused = answer(backend, Request(talk, SHORT))
    assert "more than" in refused.error and "new chat" in refused.error
    message = answer(backend, Request(talk, replace(SHORT, drop_old_turns=True)))
    assert message.error == "" and message.stats is not None
    kept = Request(Conversation(talk.messages[2 * message.stats.dropped_turns :]), SHORT)
    assert message.stats.dropped_turns > 0 and message.text == answer(backend, kept).text
    assert "more than" in answer(backend, ask("word " * 1000, settings=replace(SHORT, drop_old_turns=True))).error


def test_a_change_asks_each_question_once(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a name is, whether it fits, what the headers say and how its tokens are read."""
    answer(backend, ask("Hi"))
    model_pool.release()
    asked: Counter[str] = Counter()

    def counted(owner: object, name: str) -> None:
        whole = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **options: asked.update([name]) or whole(*args, **options))

    counted(zoo, "resolve")
    counted(memory_fit, "fit")
    counted(checkpoint, "stored")
    counted(tokenizer.AutoTokenizer, "from_pretrained")
    changed(backend, FOLDERS["ovis2"])
    assert backend.status().model.id == str(FOLDERS["ovis2"]) and backend.status().problem == ""
    assert asked == {"resolve": 1, "fit": 1, "stored": 1, "from_pretrained": 1}


def test_a_change_that_is_cancelled_while_its_files_are_looked_over_leaves_the_present_model(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(backend, ask("Hi"))
    present = list(model_pool._models.values())
    whole = checkpoint.Checkpoint.read

    def read(folder: Path, name: str, **options: ModelSpec | None) -> checkpoint.Checkpoint:
        backend.cancel_change()
        return whole(folder, name, **options)

    monkeypatch.setattr(checkpoint.Checkpoint, "read", read)
    changed(backend, FOLDERS["ovis2"])
    assert list(model_pool._models.values()) == present and backend.status().phase == "ready"
    assert backend.status().problem == "" and backend.status().model.id == str(FOLDERS["ovis2.5"])


@pytest.mark.parametrize(
    ("failure", "said"),
    [(torch.OutOfMemoryError("full"), "more memory than is free"), (RuntimeError("a driver"), "server's log")],
)
def test_a_model_that_fails_to_load_is_fetched_and_tried_anew_by_the_next_question(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, failure: Exception, said: str
) -> None:
    """What is said is that it can't be loaded, not that the answer asks for too much."""
    answer(backend, ask("Hi"))

    def failing(*_: object, **__: object) -> object:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(model_pool, "load_weights", failing)
        changed(backend, FOLDERS["ovis2"])
        assert backend.status().phase == "failed" and said in backend.status().problem
        assert said in answer(backend, ask("Hi")).error
    fetched: list[str] = []
    whole = model_pool.folder_of
    monkeypatch.setattr(model_pool, "folder_of", lambda *args: fetched.append("again") or whole(*args))
    assert answer(backend, ask("Hi")).error == "" and fetched == ["again"]


def test_each_model_is_offered_once(backend: LocalBackend) -> None:
    with closing(LocalBackend(Settings(device="cpu"), Limits())) as here:
        for one in (backend, here):
            names = [offer.model.id for offer in one.offers()]
            assert len(names) == len(set(names))
