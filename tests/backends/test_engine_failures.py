"""An engine that fails is never the end of the answers, and never called what it isn't: the log has the cause, the
sentence is true, and solo answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import torch

from ovis_app import zoo
from ovis_app.backends.local import model_pool, session
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.backends.local.session import Session
from ovis_app.checkpoints import tokenizer
from ovis_app.checkpoints.hub import no_progress
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.conversation import Conversation, Message
from ovis_app.engine import paged, pages
from ovis_app.engine.paged import VARLEN, Means
from ovis_app.engine.pages import Manager
from ovis_app.generation import GenerationSettings, Request
from ovis_app.limits import Limits
from ovis_app.models.ovis import Ovis
from ovis_app.settings import Settings
from tests.backends.test_many_at_once import FOLDERS, answer, opened
from tests.models_on_cpu import loaded_on_cpu

HELLO = Request(Conversation((Message("user", "Hi"),)), GenerationSettings(max_new_tokens=12))
LONG = Request(Conversation((Message("user", "Go on"),)), GenerationSettings(max_new_tokens=200))
CAUSE = "the cause that nobody may lose"


@pytest.fixture(autouse=True)
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer ends by itself before its tokens do."""
    monkeypatch.setattr(model_pool, "_models", {})
    monkeypatch.setattr(tokenizer, "ending_of", lambda *_: Ending((703,), 608))


@pytest.fixture
def expected() -> str:
    with closing(opened("ovis2.5", "solo")) as backend:
        return answer(backend, HELLO).text


def loaded(monkeypatch: pytest.MonkeyPatch, engine: str) -> LocalBackend:
    """A backend that has loaded its model. For `auto` as if that lay on a GPU where the batched engine is the faster
    one."""
    backend = opened("ovis2.5", engine)
    with monkeypatch.context() as patch:
        if engine == "auto":
            patch.setattr(Ovis, "device", torch.device("cuda"))
        backend._open(no_progress)
    return backend


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


def dying(self: Manager, renamed: object) -> None:
    """The loop of a version that asks for what nobody gives."""
    raise AssertionError("it can't be called")


class Refusing:
    """transformers' settings of a version that has renamed them."""

    def __init__(self) -> None: ...


AT_START = {
    "its settings were renamed": (pages, "ContinuousBatchingConfig", Refusing, "unexpected keyword argument"),
    "its loop was": (Manager, "_run_generation_loop", dying, "missing 1 required positional argument: 'renamed'"),
    "its thread": (Manager, "start", failing(RuntimeError(CAUSE)), CAUSE),
    "its warm-up": (Manager, "warmup", failing(RuntimeError(CAUSE)), CAUSE),
    "its warm-up, by a value": (Manager, "warmup", failing(ValueError(CAUSE)), CAUSE),
    "its first step": (Manager, "_generation_step", failing(RuntimeError(CAUSE)), CAUSE),
    "its making": (session, "BatchedEngine", failing(AttributeError(CAUSE)), CAUSE),
}


@pytest.mark.parametrize("engine", ["batched", "auto"])
@pytest.mark.parametrize("way", AT_START)
def test_an_engine_that_cannot_start_leaves_the_answers_to_solo(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, expected: str, engine: str, way: str
) -> None:
    where, name, instead, cause = AT_START[way]
    with monkeypatch.context() as patch:
        patch.setattr(where, name, instead)
        backend = loaded(monkeypatch, engine)
        with closing(backend):
            said = answer(backend, HELLO)
    assert (said.error, said.text) == ("", expected)
    assert said.stats is not None and said.stats.engine == "solo"
    assert_told(caplog, cause)


def assert_told(caplog: pytest.LogCaptureFixture, cause: str) -> None:
    """Once that answers come one at a time, with the cause and its traceback, and not a word of memory."""
    told = [record for record in caplog.records if "one at a time" in record.getMessage()]
    assert len(told) == 1 and told[0].levelno >= logging.WARNING
    assert cause in caplog.text and "Traceback" in caplog.text
    assert not any("memory" in record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)


class FailsAtStep:
    """`_generation_step` of a manager that fails at the step of that number, once armed."""

    def __init__(self, patch: pytest.MonkeyPatch, error: Exception) -> None:
        self.error, self.left, self.whole = error, -1, Manager._generation_step
        failing = self

        def step(manager: Manager) -> None:
            failing.left -= 1
            if failing.left == 0:
                raise failing.error
            failing.whole(manager)

        patch.setattr(Manager, "_generation_step", step)


@pytest.mark.parametrize("engine", ["batched", "auto"])
def test_an_engine_that_dies_in_the_midst_of_an_answer_says_so_and_solo_answers_the_next(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, expected: str, engine: str
) -> None:
    fails = FailsAtStep(monkeypatch, RuntimeError(CAUSE))
    with closing(loaded(monkeypatch, engine)) as backend:
        fails.left = 5
        broken = answer(backend, LONG)
        assert "failed while answering" in broken.error and CAUSE not in broken.error
        assert "memory" not in broken.error and broken.text
        said = answer(backend, HELLO)
    assert (said.error, said.text) == ("", expected)
    assert said.stats is not None and said.stats.engine == "solo"
    assert_told(caplog, CAUSE)


def test_whoever_had_no_word_yet_is_answered_alone_and_nobody_is_told_of_a_shutdown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, expected: str
) -> None:
    fails = FailsAtStep(monkeypatch, RuntimeError(CAUSE))
    with closing(loaded(monkeypatch, "batched")) as backend:
        fails.left = 1  # the first step of all that are asked
        with ThreadPoolExecutor(5) as threads:
            said = list(threads.map(lambda _: answer(backend, HELLO), range(5)))
    assert [(message.error, message.text) for message in said] == [("", expected)] * 5
    assert_told(caplog, CAUSE)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(CAUSE), MemoryError(CAUSE)])
def test_a_lack_of_memory_is_called_one_and_the_engine_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, expected: str, error: Exception
) -> None:
    fails = FailsAtStep(monkeypatch, error)
    with closing(loaded(monkeypatch, "batched")) as backend:
        fails.left = 5
        full = answer(backend, LONG)
        assert "ran out of memory" in full.error
        said = answer(backend, HELLO)
        assert (said.error, said.text) == ("", expected)
        assert said.stats is not None and said.stats.engine == "batched"
        fails.left = 1
        alone = answer(backend, HELLO)
        assert (alone.error, alone.text) == ("", expected)
        assert alone.stats is not None and alone.stats.engine == "solo"
    assert CAUSE in caplog.text and "Traceback" in caplog.text


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(CAUSE), MemoryError(CAUSE)])
def test_an_engine_without_memory_leaves_the_answers_to_solo(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, expected: str, error: Exception
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Manager, "warmup", failing(error))
        backend = loaded(monkeypatch, "batched")
    with closing(backend):
        said = answer(backend, HELLO)
    assert (said.error, said.text) == ("", expected)
    told = [record.getMessage() for record in caplog.records if "one at a time" in record.getMessage()]
    assert len(told) == 1 and "isn't enough memory" in told[0]


def test_an_engine_that_cannot_start_again_leaves_the_answer_to_solo(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, expected: str
) -> None:
    fails = FailsAtStep(monkeypatch, torch.OutOfMemoryError("full"))
    with closing(loaded(monkeypatch, "batched")) as backend:
        fails.left = 5
        answer(backend, LONG)
        caplog.clear()
        monkeypatch.setattr(Manager, "warmup", failing(RuntimeError(CAUSE)))
        said = answer(backend, HELLO)
    assert (said.error, said.text) == ("", expected)
    assert_told(caplog, CAUSE)


class Untouched:
    """Stands for the batched engine, which no CPU has as a GPU has it."""

    bytes = 0

    def __init__(self, *_: object) -> None: ...
    def warm(self) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A GPU that runs flash attention, as far as `auto` looks; for the time of loading."""
    with monkeypatch.context() as patch:
        patch.setattr(session, "warm_up", lambda *_, **__: None)
        patch.setattr(session, "unfit", lambda model: None)
        patch.setattr(session, "BatchedEngine", Untouched)
        patch.setattr(paged, "runs_flash", lambda device, dtype: True)
        patch.setattr(paged, "is_flash_attn_2_available", lambda: False)
        patch.setattr(paged, "is_flash_attn_3_available", lambda: False)
        yield patch


@pytest.mark.parametrize(
    ("flash", "own", "recorded", "why"),
    [
        (True, Means(None), True, ""),
        (False, Means(VARLEN, in_place=True), True, ""),
        (True, Means(None), False, "can't be recorded"),
        (False, Means(VARLEN, in_place=True), False, "can't be recorded"),
        (False, Means(VARLEN), True, "install flash-attn"),  # torch 2.11 on an H200
        (False, Means(None), True, "install flash-attn"),
    ],
)
def test_auto_is_never_the_slower_way(
    gpu: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, flash: bool, own: Means, recorded: bool, why: str
) -> None:
    gpu.setattr(paged, "is_flash_attn_2_available", lambda: flash)
    gpu.setattr(paged, "tried", lambda *_: own)
    gpu.setattr(paged, "recordable", lambda llm: recorded)
    loaded = loaded_on_cpu(zoo.resolve(FOLDERS["ovis2.5"]))
    gpu.setattr(Ovis, "device", torch.device("cuda"))
    gpu.setattr(type(loaded.model.llm), "device", torch.device("cuda"))
    for engine in ("auto", "batched"):
        caplog.clear()
        with closing(Session(loaded, Settings(engine=engine), Limits())) as made:
            assert made.at_once == (why == "" or engine == "batched")
            told = [record for record in caplog.records if "one at a time" in record.getMessage()]
            assert len(told) == (0 if made.at_once else 1)
            assert all(record.levelno == logging.WARNING and why in record.getMessage() for record in told)
