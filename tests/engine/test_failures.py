"""Whatever goes wrong is one answer's own, ends it with a sentence, and leaves its blocks to the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ovis_app.engine.answer import Answer
from ovis_app.engine.engine import Engine
from ovis_app.engine.scheduler import Chunk
from ovis_app.errors import BackendError
from ovis_app.generation import GenerationSettings
from tests.engine.driven import FAMILIES, LONG, LOREM, SHORT, Reader, Watched, drive, engine, text
from tests.engine.prompts import Written, tiny
from tests.waiting import PATIENCE, until


class Breaking(Watched):
    """Raises what `breaks` says for a step's chunks, before it runs them."""

    breaks: Callable[[Sequence[Chunk]], Exception | None]

    def run(self, chunks: Sequence[Chunk]) -> Tensor | None:
        error = self.breaks(chunks)
        if error is not None:
            raise error
        return super().run(chunks)


def breaking(breaks: Callable[[Sequence[Chunk]], Exception | None], **options: Any) -> Engine:
    made = engine(runner=Breaking, **options)
    assert isinstance(made.runner, Breaking)
    made.runner.breaks = breaks
    return made


FULL = torch.OutOfMemoryError("full")


def full_at(rows: int, error: Exception = FULL) -> Callable[[Sequence[Chunk]], Exception | None]:
    """Memory for that many rows of a step and no more."""

    def breaks(chunks: Sequence[Chunk]) -> Exception | None:
        return error if sum(chunk.rows for chunk in chunks) > rows else None

    return breaks


def prompts(count: int) -> list[Written]:
    return [text(f"{number} {LOREM}") for number in range(count)]


def plainly(asked: Sequence[Written], settings: GenerationSettings = SHORT) -> list[list[int]]:
    return [tiny("ovis2.5").plain(written, settings) for written in asked]


def ended(answer: Answer) -> list[int] | str:
    """An answer's tokens, or the sentence that it ended with."""
    try:
        return answer.wait().tolist()
    except (BackendError, torch.OutOfMemoryError) as error:
        return str(error)


def is_sentence(said: object) -> bool:
    return isinstance(said, str) and said.endswith(".") and "\n" not in said and "odd" not in said


# --- a step that fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 2, 7])
def test_what_fails_for_one_fails_for_that_one_alone(at: int) -> None:
    """In its prompt, or after some tokens, in a step that everybody shares."""
    asked = prompts(8)
    expected = plainly(asked)
    unlucky: list[Answer] = []

    def breaks(chunks: Sequence[Chunk]) -> Exception | None:
        mine = [chunk for chunk in chunks if unlucky and chunk.sequence is unlucky[0].sequence]
        return RuntimeError("odd") if mine and len(mine[0].sequence.generated) >= at else None

    driven = breaking(breaks)
    answers = [driven.add(written, SHORT) for written in asked]
    unlucky.append(answers[3])
    drive(driven, answers)
    found = [ended(answer) for answer in answers]
    assert is_sentence(found[3]) and "try again" in str(found[3]) and len(answers[3].ids) == at
    assert found[:3] + found[4:] == expected[:3] + expected[4:]
    assert driven.blocks.held == 0


def test_a_prompt_with_too_few_embeddings_fails_alone() -> None:
    picture = tiny("ovis2.5").written([("What?", (("image", 1),))])
    assert picture.visual is not None
    expected = plainly([picture])
    driven = engine()
    odd = driven.add(replace(picture, keys=picture.keys[::-1], visual=picture.visual[:-1]), SHORT)
    none = driven.add(replace(picture, keys=(5,) * len(picture.keys), visual=None), SHORT)
    whole = driven.add(picture, SHORT)
    drive(driven, [odd, none, whole])
    assert is_sentence(ended(odd)) and is_sentence(ended(none)) and ended(whole) == expected[0]


def test_the_next_request_is_answered_after_any_failure() -> None:
    expected, failing = plainly(prompts(1)), [True]
    driven = breaking(lambda chunks: RuntimeError("odd") if failing else None)
    with pytest.raises(BackendError, match="try again"):
        driven.generate(prompts(1)[0], SHORT)
    failing.clear()
    assert driven.generate(prompts(1)[0], SHORT).tolist() == expected[0]


def test_whoever_failed_keeps_nothing_of_the_step_alive() -> None:
    """An error's traceback holds the step's tensors for as long as a reader holds the error."""
    driven = breaking(lambda chunks: RuntimeError("odd"))
    answer = driven.add(text(), SHORT)
    drive(driven, [answer])
    assert answer.error is not None and answer.error.__traceback__ is None and answer.error.__context__ is None


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: 45 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["cuda", "cpu", "mps", "cublas"],
)
def test_running_out_of_memory_costs_nobody_anything_where_smaller_steps_fit(error: Exception) -> None:
    asked = prompts(8)
    expected, given_back = plainly(asked), list[int]()
    driven = breaking(full_at(20, error), chunk=256, give_memory_back=lambda: given_back.append(1))
    answers = [driven.add(written, SHORT) for written in asked]
    drive(driven, answers)
    assert [ended(answer) for answer in answers] == expected and given_back
    assert driven.pace.tokens(decoding=True) < 256, "the next steps are smaller from the start"


@pytest.mark.parametrize("family", FAMILIES)
def test_one_long_prompt_is_cut_until_it_fits(family: str) -> None:
    small = tiny(family)
    written = small.written([("What is it?", (("image", 3),)), ("A cat.", ()), (LOREM, ())])
    expected = small.plain(written, SHORT)
    driven = breaking(full_at(17), family=family, chunk=2048)
    assert driven.generate(written, SHORT).tolist() == expected


def test_what_can_not_be_made_smaller_ends_one_answer_and_says_what_to_lower() -> None:
    asked = prompts(4)
    expected = plainly(asked)
    hungry: list[Answer] = []
    driven = breaking(
        lambda chunks: (
            torch.OutOfMemoryError("full") if any(chunk.sequence is hungry[0].sequence for chunk in chunks) else None
        )
    )
    answers = [driven.add(written, SHORT) for written in asked]
    hungry.append(answers[2])
    drive(driven, answers)
    with pytest.raises(torch.OutOfMemoryError, match="lower max pixels"):
        answers[2].wait()
    assert [ended(answer) for answer in answers if answer is not hungry[0]] == expected[:2] + expected[3:]
    assert driven.blocks.held == 0


def test_many_tokens_without_memory_for_a_step_leave_prompts_as_they_are() -> None:
    """Nobody read a prompt: to read in smaller pieces would bring nothing."""
    asked = prompts(8)
    driven = breaking(lambda chunks: torch.OutOfMemoryError("full") if all_decode(chunks) and len(chunks) > 3 else None)
    driven.pace.most = 1024
    answers = [driven.add(written, SHORT) for written in asked]
    drive(driven, answers)
    assert [ended(answer) for answer in answers] == plainly(asked)
    assert driven.pace.most == 1024


def all_decode(chunks: Sequence[Chunk]) -> bool:
    return all(chunk.sequence.pending == 1 for chunk in chunks)


# --- readers ----------------------------------------------------------------------------------------------------------


class Broken(Reader):
    """Fails when it hears its third token, when it is asked, at the end, or when it hears how far its prompt is."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self.when = when

    def put(self, value: Tensor) -> None:
        super().put(value)
        if self.when == "put" and len(self.heard) == 3:
            raise OSError("odd")

    def end(self) -> None:
        if self.when == "end":
            raise OSError("odd")

    def __call__(self) -> bool:
        if self.when == "stop" and len(self.heard) == 3:
            raise OSError("odd")
        return False

    def progress(self, share: float) -> None:
        if self.when == "progress":
            raise OSError("odd")


@pytest.mark.parametrize("when", ["put", "end", "stop", "progress"])
def test_a_reader_that_fails_fails_alone(when: str) -> None:
    asked = prompts(5)
    expected, broken = plainly(asked), Broken(when)
    driven = engine()
    hers: dict[str, Any] = {"streamer": broken, "stop": broken, "progress": broken.progress}
    answers = [driven.add(written, SHORT, **(hers if number == 1 else {})) for number, written in enumerate(asked)]
    drive(driven, answers)
    found = [ended(answer) for answer in answers]
    assert is_sentence(found[1]) and found[:1] + found[2:] == expected[:1] + expected[2:]
    assert broken.heard == expected[1][: {"end": None, "progress": 0}.get(when, 3)]
    assert driven.blocks.held == 0


def test_stop_lands_within_a_step_and_gives_the_blocks_back() -> None:
    driven = engine(block_size=4)
    stays, leaves = Reader(), Reader(3)
    kept = driven.add(text(), replace(SHORT, max_new_tokens=40), streamer=stays, stop=stays)
    gone = driven.add(text("Away with me."), LONG, streamer=leaves, stop=leaves)
    while len(leaves.heard) < 3:
        driven.step()
    held = driven.blocks.held
    driven.step()
    assert gone.over and leaves.ended and len(leaves.heard) == 3 == len(gone.wait()) and not kept.over
    assert driven.blocks.held < held
    drive(driven, [kept])
    assert driven.blocks.held == 0


def test_stop_lands_while_a_prompt_is_read() -> None:
    driven, leave = engine(chunk=7), list[bool]()
    answer = driven.add(text(LOREM * 8), LONG, stop=lambda: bool(leave))
    driven.step()
    driven.step()
    leave.append(True)
    driven.step()
    assert answer.over and answer.wait().tolist() == [] and driven.blocks.held == 0
    assert isinstance(driven.runner, Watched) and driven.runner.steps == [[7], [7]]


def test_who_drives_an_engine_has_the_answer_before_it_is_prepared_for_faster_steps() -> None:
    """On a GPU that takes 15 seconds."""
    driven, left = engine(), list(range(10_000))

    class Slow(Watched):
        def prepare(self) -> bool:
            left.pop()
            return True

    driven.runner.__class__ = Slow
    assert driven.generate(prompts(1)[0], SHORT).tolist() == plainly(prompts(1))[0]
    assert len(left) > 9_000


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("blocks", "context"), [(4, 2048), (256, 64)])
def test_what_can_never_fit_is_refused_before_it_is_queued(blocks: int, context: int) -> None:
    driven, tokens = engine(blocks=blocks, context=context), len(text().ids)
    with pytest.raises(BackendError, match=r"may take 65 tokens and there is memory for 64: lower max new tokens"):
        driven.add(text(), replace(SHORT, max_new_tokens=65 - tokens))
    assert not driven.step() and driven.scheduler.idle
    fitting = replace(SHORT, max_new_tokens=64 - tokens)
    assert len(driven.generate(text(), fitting)) == 64 - tokens


@pytest.mark.parametrize(
    "bad", [{"temperature": float("nan")}, {"top_p": "0.5"}, {"seed": -1}, {"top_k": True}, {"max_new_tokens": 0}]
)
def test_settings_out_of_range_are_refused_by_the_engine_itself(bad: dict[str, Any]) -> None:
    driven = engine()
    with pytest.raises(BackendError, match=f"^{next(iter(bad))} must be"):
        driven.add(text(), GenerationSettings(**bad))
    assert not driven.step()


# --- the end of it ----------------------------------------------------------------------------------------------------


def test_closing_ends_what_is_under_way_and_what_waits_with_a_sentence() -> None:
    driven = engine(most_running=1)
    driven.start()
    reader = Reader()
    with ThreadPoolExecutor(2) as threads:
        under_way = threads.submit(driven.generate, text(), LONG, streamer=reader)
        until(lambda: reader.heard)
        waiting = driven.add(text("Wait."), SHORT)
        driven.close()
        assert "shut down" in str(under_way.exception(PATIENCE)) and "shut down" in str(ended(waiting))
    with pytest.raises(BackendError, match="shut down"):
        driven.add(text(), SHORT)


def test_closing_one_that_nobody_started_ends_what_was_asked() -> None:
    driven = engine()
    answer = driven.add(text(), LONG)
    driven.step()
    driven.close()
    assert "shut down" in str(ended(answer)) and driven.blocks.held == 0


def test_a_failure_of_the_engine_itself_ends_those_under_way_and_the_next_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = plainly(prompts(1))
    driven, failed = engine(), threading.Event()
    whole = driven.scheduler.schedule

    def schedule(tokens: int) -> list[Chunk]:
        if not failed.is_set():
            failed.set()
            raise AssertionError("odd")
        return whole(tokens)

    monkeypatch.setattr(driven.scheduler, "schedule", schedule)
    driven.start()
    try:
        assert is_sentence(ended(driven.add(text(), SHORT)))
        assert driven.generate(prompts(1)[0], SHORT).tolist() == expected[0]
    finally:
        driven.close()


def test_an_answer_that_can_not_be_put_away_ends_all_the_same_and_the_next_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = plainly(prompts(1))
    driven, odd = engine(), list[Any]()
    whole = driven.blocks.remember

    def remember(sequence: Any) -> None:
        if not odd:
            odd.append(sequence)
        if sequence is odd[0]:
            raise AssertionError("odd")
        whole(sequence)

    monkeypatch.setattr(driven.blocks, "remember", remember)
    driven.start()
    try:
        failing = driven.add(text(), SHORT)
        until(lambda: failing.over)
        assert is_sentence(ended(failing))
        answer = driven.add(prompts(1)[0], SHORT)
        until(lambda: answer.over)
        assert ended(answer) == expected[0]
    finally:
        driven.close()
