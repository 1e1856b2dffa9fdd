"""Everybody gets on, the first asked first, whatever the memory; and a short question doesn't wait for a long one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovis_app.engine.block_manager import BlockManager
from ovis_app.engine.scheduler import Chunk, Scheduler
from ovis_app.engine.sequence import Sequence


@dataclass(frozen=True)
class Asked:
    """A request: when it comes, and how many tokens of its prompt and answer there are. `like` others begin alike."""

    step: int
    prompt: int
    answer: int
    like: int

    def sequence(self) -> Sequence:
        return Sequence([0] * self.prompt, [-1 - self.like] * (self.prompt - 1) + [5])


@st.composite
def loads(draw: st.DrawFn) -> tuple[list[Asked], BlockManager]:
    """Requests, and blocks that the largest of them fits into, often with nothing to spare."""
    block_size = draw(st.sampled_from([1, 2, 4]))
    numbers = st.tuples(st.integers(0, 20), st.integers(1, 40), st.integers(1, 12), st.integers(0, 2))
    asked = [Asked(*number) for number in draw(st.lists(numbers, min_size=1, max_size=8))]
    largest = max(one.prompt + one.answer for one in asked)
    blocks = -(-largest // block_size) + draw(st.integers(0, 12))
    return asked, BlockManager(blocks, block_size=block_size, most_cached=draw(st.sampled_from([None, 0, 3])))


class Run:
    """A scheduler with a pretended model, which looks at every step that it is given."""

    def __init__(self, asked: list[Asked], blocks: BlockManager, *, most_running: int = 64) -> None:
        self.scheduler, self.blocks = Scheduler(blocks, most_running=most_running), blocks
        self.coming = sorted(asked, key=lambda one: one.step)
        self.needed: dict[Sequence, int] = {}  # of its answer
        self.steps = 0

    @property
    def over(self) -> bool:
        return not self.coming and self.scheduler.idle

    def step(self, prefill_tokens: int) -> list[Chunk]:
        while self.coming and (self.coming[0].step <= self.steps or self.scheduler.idle):
            asked = self.coming.pop(0)
            sequence = asked.sequence()
            self.needed[sequence] = asked.answer
            self.scheduler.add(sequence)
        before = list(self.scheduler.running)
        chunks = self.scheduler.schedule(prefill_tokens)
        self.looked_at(chunks, before, prefill_tokens)
        for chunk in chunks:
            last, sequence = chunk.last, chunk.sequence
            sequence.computed += chunk.tokens
            self.blocks.remember(sequence)
            if last:
                sequence.append(3)
                if len(sequence.generated) == self.needed[sequence]:
                    self.scheduler.remove(sequence)
        self.steps += 1
        return chunks

    def looked_at(self, chunks: list[Chunk], before: list[Sequence], prefill_tokens: int) -> None:
        scheduler, running = self.scheduler, self.scheduler.running
        waiting, chosen = list(scheduler.waiting), [chunk.sequence for chunk in chunks]
        arrivals = [sequence.arrival for sequence in (*running, *waiting)]
        assert arrivals == sorted(arrivals), "first come, first admitted; preempted are the youngest"
        assert chosen and len({*chosen}) == len(chosen) <= scheduler.most_running and {*chosen} <= {*running}
        assert min((*running, *waiting), key=lambda sequence: sequence.arrival) in chosen, "the first always gets on"
        for chunk in chunks:
            room = len(chunk.sequence.block_table) * self.blocks.block_size
            assert 1 <= chunk.tokens <= chunk.sequence.pending and chunk.sequence.computed + chunk.tokens <= room
        assert {*chosen} >= {sequence for sequence in running if sequence.pending == 1}
        self.looked_at_prefill([chunk for chunk in chunks if chunk.sequence.pending > 1], prefill_tokens)
        if {*running} - {*before}:
            assert self.blocks.available >= len(running) - 1, "a block for each who ran before the last"

    def looked_at_prefill(self, prefill: list[Chunk], tokens: int) -> None:
        reading = [sequence for sequence in self.scheduler.running if sequence.pending > 1]
        if reading:
            assert sum(chunk.tokens for chunk in prefill) == min(tokens, sum(one.pending for one in reading))
            share = next(chunk.tokens for chunk in prefill if chunk.sequence is reading[0])
            assert share >= min(-(-tokens // 2), reading[0].pending)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(load=loads(), chunk=st.sampled_from([1, 7, 64]), most_running=st.sampled_from([1, 2, 64]))
def test_everybody_finishes_however_little_memory_there_is(
    load: tuple[list[Asked], BlockManager], chunk: int, most_running: int
) -> None:
    asked, blocks = load
    run = Run(list(asked), blocks, most_running=most_running)
    most = 21 + sum(one.prompt + one.answer for one in asked)  # since the first of them gets on at every step
    while not run.over:
        run.step(chunk)
        assert run.steps <= most
    assert all(len(sequence.generated) == needed for sequence, needed in run.needed.items())
    assert blocks.held == 0


def test_the_loads_force_preemptions() -> None:
    """Else the test above proves little."""
    blocks = BlockManager(30, block_size=1)
    run = Run([Asked(0, 6, 20, number) for number in range(4)], blocks)
    while not run.over:
        run.step(64)
    assert run.scheduler.preemptions > 2


def scheduler(*prompts: int, blocks: int = 1000, block_size: int = 1, most_running: int = 64) -> Scheduler:
    made = Scheduler(BlockManager(blocks, block_size=block_size), most_running=most_running)
    for number, prompt in enumerate(prompts):
        made.add(Sequence([0] * prompt, [-1 - number] * prompt))
    return made


def shares(chunks: list[Chunk]) -> dict[int, int]:
    """Tokens of each chunk, by the length of its prompt."""
    return {chunk.sequence.prompt_length: chunk.tokens for chunk in chunks}


@pytest.mark.parametrize(
    ("prompts", "tokens", "expected"),
    [
        ((100, 50, 10), 40, {100: 20, 10: 10, 50: 10}),
        ((100, 50, 10), 20, {100: 10, 10: 10}),
        ((100, 4), 40, {100: 36, 4: 4}),
        ((4, 100), 40, {4: 4, 100: 36}),
        ((100,), 40, {100: 40}),
        ((100, 50), 1, {100: 1}),
        ((100, 50), 0, {100: 1}),
        ((3, 2), 64, {3: 3, 2: 2}),
    ],
)
def test_half_goes_to_the_first_and_the_rest_to_who_needs_least(
    prompts: tuple[int, ...], tokens: int, expected: dict[int, int]
) -> None:
    assert shares(scheduler(*prompts).schedule(tokens)) == expected


def test_a_short_question_does_not_wait_for_a_long_one() -> None:
    run = Run([Asked(0, 6000, 1, 0), Asked(1, 20, 1, 1)], BlockManager(8000, block_size=1))
    run.step(64)
    assert shares(run.step(64)) == {6000: 44, 20: 20}
    assert [sequence.prompt_length for sequence in run.scheduler.running] == [6000]


def test_who_decodes_gets_a_token_beside_any_prefill() -> None:
    made = scheduler(8, 600)
    (first,) = (chunk for chunk in made.schedule(16) if chunk.last)
    first.sequence.computed = 8
    first.sequence.append(3)
    made.running[1].computed = 8
    assert made.decoding
    assert shares(made.schedule(16)) == {8: 1, 600: 16}


def test_who_is_admitted_leaves_a_block_for_each_who_runs() -> None:
    """Else they would preempt one another in turn."""
    made = scheduler(10, 10, 10, blocks=31)
    made.schedule(64)
    assert [len(one) for one in made.running] == [10, 10] and made.blocks.available == 11
    larger = scheduler(10, 10, 10, blocks=32)
    larger.schedule(64)
    assert len(larger.running) == 3


def test_who_is_alone_gets_all_there_is() -> None:
    made = scheduler(32, blocks=32)
    assert shares(made.schedule(64)) == {32: 32}


def test_no_more_run_than_may() -> None:
    made = scheduler(1, 1, 1, most_running=2)
    assert len(made.schedule(64)) == 2 and len(made.waiting) == 1


def test_the_youngest_is_preempted_and_computed_anew_before_who_came_later() -> None:
    made = scheduler(4, 4, 3, blocks=12)
    for chunk in made.schedule(64):
        chunk.sequence.computed = 4
        chunk.sequence.append(3)
    first, second = made.running
    (third,) = made.waiting
    for _ in range(2):
        for chunk in made.schedule(64):
            chunk.sequence.computed += 1
            chunk.sequence.append(3)
    assert made.running == [first, second] and made.blocks.available == 0
    assert [chunk.sequence for chunk in made.schedule(64)] == [first] and made.preemptions == 1
    assert list(made.waiting) == [second, third] and second.computed == 0 and second.generated == [3, 3, 3]


def test_what_a_preempted_one_had_computed_is_found_again() -> None:
    made = scheduler(8, blocks=16)
    (chunk,) = made.schedule(64)
    chunk.sequence.computed = 8
    chunk.sequence.append(3)
    made.preempt(chunk.sequence)
    (again,) = made.schedule(64)
    assert again == Chunk(chunk.sequence, 1) and made.blocks.held == 9


@pytest.mark.parametrize("where", ["running", "waiting", "nowhere"])
def test_who_leaves_is_nowhere_any_more_and_its_blocks_are_free(where: str) -> None:
    made = scheduler(4, 4, most_running=1)
    made.schedule(64)
    found = {"running": made.running, "waiting": made.waiting, "nowhere": [Sequence([1], [1])]}[where][0]
    made.remove(found)
    assert found not in made.running and found not in made.waiting
    assert made.blocks.held == (0 if where == "running" else 4)
