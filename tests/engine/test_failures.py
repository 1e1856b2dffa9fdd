"""Whatever goes wrong is one answer's own, ends it with a sentence, and leaves its blocks to the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ovis_app.engine.answer import RunningAnswer
from ovis_app.engine.engine import Engine
from ovis_app.engine.scheduler import Chunk
from ovis_app.errors import BackendError
from tests.engine.driven import (
    FAMILIES,
    LOREM,
    SHORT,
    Watched,
    drive,
    ended,
    engine,
    is_sentence,
    plainly,
    prompts,
    text,
)
from tests.engine.prompts import tiny


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


# --- a step that fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 2, 7])
def test_what_fails_for_one_fails_for_that_one_alone(at: int) -> None:
    """In its prompt, or after some tokens, in a step that everybody shares."""
    asked = prompts(8)
    expected = plainly(asked)
    unlucky: list[RunningAnswer] = []

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
    hungry: list[RunningAnswer] = []
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
