"""An engine that fails is never the end of the answers, and never called what it isn't: the log has the cause, the
sentence is true, and the next question is answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import torch
from torch import Tensor

from ovis_app.backends.local import model_pool
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.checkpoints import tokenizer
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.conversation import Conversation, Message
from ovis_app.engine import capabilities, memory_plan
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.engine.scheduler import Chunk, Scheduler
from ovis_app.generation import GenerationSettings, Request
from tests.backends.test_many_at_once import answer, opened
from tests.waiting import until

HELLO = Request(Conversation((Message("user", "Hi"),)), GenerationSettings(max_new_tokens=12))
LONG = Request(Conversation((Message("user", "Go on"),)), GenerationSettings(max_new_tokens=200))
CAUSE = "the cause that nobody may lose"


@pytest.fixture(autouse=True)
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer ends by itself before its tokens do."""
    monkeypatch.setattr(model_pool, "_models", {})
    monkeypatch.setattr(tokenizer, "ending_of", lambda *_: Ending((703,), 608))


@pytest.fixture
def backend() -> Iterator[LocalBackend]:
    with closing(opened("ovis2.5", "auto")) as made:
        yield made


@pytest.fixture
def expected() -> str:
    with closing(opened("ovis2.5", "plain")) as plain:
        return answer(plain, HELLO).text


class FailingRunner:
    """Stands before ModelRunner.run: raises `error` from step `step` on, `times` times."""

    def __init__(self, patch: pytest.MonkeyPatch, error: Exception, *, step: int = 1, times: int = 1) -> None:
        self.left, self.times, self.error = step, times, error
        whole, failing = ModelRunner.run, self

        def run(runner: ModelRunner, chunks: Sequence[Chunk]) -> Tensor | None:
            failing.left -= 1
            if failing.left <= 0 and failing.times > 0:
                failing.times -= 1
                raise failing.error
            return whole(runner, chunks)

        patch.setattr(ModelRunner, "run", run)


def test_a_step_that_fails_ends_the_answer_with_a_true_sentence_and_the_next_one_comes(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, expected: str
) -> None:
    with monkeypatch.context() as patch:
        FailingRunner(patch, RuntimeError(CAUSE), step=5)
        broken = answer(backend, LONG)
    assert "failed while answering" in broken.error and CAUSE not in broken.error and "memory" not in broken.error
    assert broken.text
    assert CAUSE in caplog.text and "Traceback" in caplog.text
    said = answer(backend, HELLO)
    assert (said.error, said.text) == ("", expected)


def test_whoever_is_in_the_same_step_as_a_failure_is_answered(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, expected: str
) -> None:
    """A step that fails is tried again in halves: each of five works alone, so that nobody hears of it."""
    answer(backend, HELLO)
    whole = ModelRunner.run

    def together_never(runner: ModelRunner, chunks: Sequence[Chunk]) -> Tensor | None:
        if len(chunks) > 1:
            raise RuntimeError(CAUSE)
        return whole(runner, chunks)

    monkeypatch.setattr(ModelRunner, "run", together_never)
    with ThreadPoolExecutor(5) as threads:
        said = list(threads.map(lambda _: answer(backend, HELLO), range(5)))
    assert [(message.error, message.text) for message in said] == [("", expected)] * 5


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(CAUSE), MemoryError(CAUSE)])
def test_a_lack_of_memory_is_called_one_and_the_next_question_is_answered(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, expected: str,
    error: Exception,
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        FailingRunner(patch, error, step=5, times=10)
        full = answer(backend, LONG)
    assert "ran out of memory" in full.error and full.text
    said = answer(backend, HELLO)
    assert (said.error, said.text) == ("", expected)
    assert CAUSE in caplog.text


def test_a_prompt_that_needs_too_much_memory_at_once_is_prefilled_in_smaller_chunks(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = Request(Conversation((Message("user", "word " * 400),)), GenerationSettings(max_new_tokens=4))
    wanted = answer(backend, long).text
    whole = ModelRunner.run

    def small_only(runner: ModelRunner, chunks: Sequence[Chunk]) -> Tensor | None:
        if sum(chunk.tokens for chunk in chunks) > 50:
            raise torch.OutOfMemoryError("full")
        return whole(runner, chunks)

    with monkeypatch.context() as patch, closing(opened("ovis2.5", "auto")) as fresh:
        patch.setattr(ModelRunner, "run", small_only)
        said = answer(fresh, long)
    assert (said.error, said.text) == ("", wanted)


def test_a_scheduler_that_fails_ends_what_runs_and_nothing_else(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, expected: str
) -> None:
    answer(backend, HELLO)
    with monkeypatch.context() as patch:
        patch.setattr(Scheduler, "schedule", lambda *_: (_ for _ in ()).throw(AssertionError(CAUSE)))
        broken = answer(backend, HELLO)
    assert "failed while answering" in broken.error and CAUSE in caplog.text
    said = answer(backend, HELLO)
    assert (said.error, said.text) == ("", expected)


def test_a_model_that_the_engine_cannot_serve_is_answered_by_generate_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, expected: str
) -> None:
    monkeypatch.setattr(capabilities, "LAYER_TYPES", set())
    with closing(opened("ovis2.5", "auto")) as backend:
        said = answer(backend, HELLO)
    assert (said.error, said.text) == ("", expected)
    assert said.stats is not None and said.stats.engine == "plain"
    told = [record.getMessage() for record in caplog.records if "one at a time" in record.getMessage()]
    assert len(told) == 1 and "full_attention" in told[0]


def test_a_machine_too_full_for_a_conversation_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(opened("ovis2.5", "auto")) as backend:
        monkeypatch.setattr(memory_plan, "bytes_available", lambda *_: 1000)
        said = answer(backend, HELLO)
        assert "no memory for a conversation" in said.error and "smaller model" in said.error
        monkeypatch.undo()
        until(lambda: backend.status().phase in ("failed", "ready"))
