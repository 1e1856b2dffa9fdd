"""No block is leaked, held by whom it isn't meant for, or found again for what it doesn't hold."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ovis_app.engine.block_manager import BlockManager
from ovis_app.engine.sequence import Sequence

KEYS = st.sampled_from([-2, -1, 0, 7])  # few, so that beginnings are shared; names of pictures are negative


def of(*keys: int) -> Sequence:
    return Sequence([0] * len(keys), keys)


def used(manager: BlockManager, sequence: Sequence) -> Sequence:
    """A sequence that was admitted, computed and released."""
    assert manager.admit(sequence)
    sequence.computed = len(sequence)
    manager.remember(sequence)
    manager.release(sequence)
    return sequence


def known(manager: BlockManager, *keys: int) -> int:
    """Tokens of a sequence that needn't be computed."""
    return len(manager.known(of(*keys))) * manager.block_size


class Pool(RuleBasedStateMachine):
    """Sequences come, are computed, grow and go. Each slot of a pretended pool says which tokens its keys and values
    were computed of: all up to its own."""

    @initialize(count=st.integers(1, 12), block_size=st.integers(1, 4), most_cached=st.none() | st.integers(0, 12))
    def begin(self, count: int, block_size: int, most_cached: int | None) -> None:
        self.manager = BlockManager(count, block_size=block_size, most_cached=most_cached)
        self.slots: dict[tuple[int, int], tuple[int, ...]] = {}
        self.living: list[Sequence] = []
        self.seen: list[tuple[int, ...]] = []

    def slot(self, sequence: Sequence, place: int) -> tuple[int, int]:
        return sequence.block_table[place // self.manager.block_size], place % self.manager.block_size

    def anybody(self, data: st.DataObject) -> Sequence:
        return self.living[data.draw(st.integers(0, len(self.living) - 1))]

    @rule(data=st.data(), more=st.lists(KEYS, min_size=1, max_size=9), spare=st.integers(0, 3))
    def admit(self, data: st.DataObject, more: list[int], spare: int) -> None:
        """Half of all begin as an earlier one does."""
        begun = data.draw(st.sampled_from([(), *self.seen])) if data.draw(st.booleans()) else ()
        keys = [*begun[: data.draw(st.integers(0, len(begun)))], *more]
        manager, sequence = self.manager, of(*keys)
        before, shared = manager.available, {*manager.known(sequence)} & self.held
        fits = before - (manager.blocks_for(len(keys)) - len(shared)) >= spare
        assert manager.admit(sequence, spare=spare) == fits
        if not fits:
            assert manager.available == before and sequence.block_table == [] and sequence.computed == 0
            return
        assert len(sequence.block_table) == manager.blocks_for(len(keys)) and sequence.computed < len(keys)
        fresh = sequence.block_table[sequence.computed // manager.block_size :]
        assert not {*fresh} & self.held and len({*sequence.block_table}) == len(sequence.block_table)
        self.living.append(sequence)
        self.seen.append(tuple(keys))

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def compute(self, data: st.DataObject) -> None:
        sequence = self.anybody(data)
        tokens = min(data.draw(st.integers(1, 9)), sequence.pending)
        for place in range(sequence.computed, sequence.computed + tokens):
            self.slots[self.slot(sequence, place)] = tuple(sequence.keys[: place + 1])
        sequence.computed += tokens
        self.manager.remember(sequence)

    @precondition(lambda self: self.living)
    @rule(data=st.data(), token=KEYS)
    def append(self, data: st.DataObject, token: int) -> None:
        """The next token of an answer, as the scheduler has it: where there is no block for it, its sequence goes."""
        sequence, held = self.anybody(data), self.held
        had, available = len(sequence.block_table), self.manager.available
        sequence.append(token)
        grown = self.manager.grow(sequence)
        assert grown == (available > 0 or len(sequence) <= had * self.manager.block_size)
        assert not {*sequence.block_table[had:]} & held
        if not grown:
            self.leave(sequence)

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.leave(self.anybody(data))

    def leave(self, sequence: Sequence) -> None:
        self.living.remove(sequence)
        self.manager.release(sequence)
        assert sequence.block_table == [] and sequence.computed == 0

    @rule()
    def clear(self) -> None:
        self.manager.clear()
        assert self.manager.cached == 0

    @property
    def held(self) -> set[int]:
        return {block for sequence in self.living for block in sequence.block_table}

    @invariant()
    def none_is_leaked(self) -> None:
        if hasattr(self, "manager"):
            assert self.manager.held == len(self.held)
            assert self.manager.available == self.manager.count - len(self.held)
            assert self.manager.cached <= self.manager.most_cached

    @invariant()
    def what_is_computed_is_there(self) -> None:
        for sequence in getattr(self, "living", ()):
            for place in range(sequence.computed):
                assert self.slots[self.slot(sequence, place)] == tuple(sequence.keys[: place + 1])

    def teardown(self) -> None:
        for sequence in list(getattr(self, "living", ())):
            self.leave(sequence)
        if hasattr(self, "manager"):
            assert self.manager.available == self.manager.count


TestPool: Any = Pool.TestCase
TestPool.settings = settings(max_examples=100, stateful_step_count=40, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize("tokens", [1, 4, 5, 8, 9])
def test_what_was_computed_is_found_again_but_for_the_last_token(tokens: int) -> None:
    """Somebody must compute a token, or there are no scores to choose the next one by."""
    manager = BlockManager(8, block_size=4)
    sequence = used(manager, of(*range(tokens)))
    assert manager.admit(sequence)
    assert sequence.computed == (tokens - 1) // 4 * 4 and sequence.pending >= 1


def test_a_block_is_known_by_all_that_comes_before_it() -> None:
    manager = BlockManager(16, block_size=2)
    used(manager, of(1, 2, 3, 4, 5))
    assert known(manager, 1, 2, 3, 4, 5) == 4
    assert known(manager, 1, 2, 3, 9, 5) == 2
    assert known(manager, 9, 9, 3, 4, 5) == 0
    assert known(manager, 3, 4, 5) == 0


def test_names_that_python_hashes_alike_are_told_apart() -> None:
    manager = BlockManager(8, block_size=2)
    assert hash((-1, -1)) == hash((-2, -2))
    used(manager, of(-1, -1, 0))
    assert known(manager, -1, -1, 0) == 2 and known(manager, -2, -2, 0) == 0


def test_keys_as_large_as_names_of_contents_are_taken() -> None:
    manager = BlockManager(4, block_size=2)
    used(manager, of(-(2**63), 2**63 - 1, 0))
    assert known(manager, -(2**63), 2**63 - 1, 0) == 2


def test_what_two_share_is_held_once_and_stays_until_both_have_gone() -> None:
    manager = BlockManager(8, block_size=2)
    used(manager, of(1, 2, 3, 4))
    one, other = of(1, 2, 3, 4, 5), of(1, 2, 3, 4, 6)
    assert manager.admit(one) and manager.admit(other)
    assert manager.held == 4 and one.block_table[:2] == other.block_table[:2]
    manager.release(one)
    assert manager.held == 3
    manager.release(other)
    assert manager.held == 0 and manager.cached == 2


def test_the_oldest_is_evicted_first_and_of_it_the_tail() -> None:
    manager = BlockManager(4, block_size=1)
    used(manager, of(1, 2))
    used(manager, of(3, 4))
    small, larger = of(8), of(9, 9)
    assert manager.admit(small)
    assert known(manager, 1, 2, 0) == 1 and known(manager, 3, 4, 0) == 2
    manager.release(small)
    assert manager.admit(larger)  # one that is free, and one for which the oldest goes
    assert known(manager, 1, 0) == 0 and known(manager, 3, 4, 0) == 2


def test_what_is_used_again_is_young_again() -> None:
    manager = BlockManager(3, block_size=1)
    used(manager, of(1))
    used(manager, of(2))
    used(manager, of(1, 5))
    assert manager.admit(of(8))
    assert known(manager, 1, 0) == 1 and known(manager, 2, 0) == 0


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_is_cached_than_may_be(most: int) -> None:
    manager = BlockManager(8, block_size=1, most_cached=most)
    used(manager, of(1, 2, 3, 4, 5))
    assert manager.cached == most and manager.available == 8
    assert known(manager, 1, 2, 3, 4, 5, 6) == most, "the head is what others begin with"


def test_what_is_held_is_never_evicted() -> None:
    manager = BlockManager(4, block_size=1)
    used(manager, of(1, 2))
    assert manager.admit(of(1, 2, 3, 4))
    assert not manager.admit(of(9)) and manager.available == 0
    manager.clear()
    assert manager.held == 4


def test_what_is_cached_for_a_sequence_is_no_room_for_its_rest() -> None:
    manager = BlockManager(3, block_size=1)
    used(manager, of(1, 2, 3))
    assert not manager.admit(of(1, 2, 3, 4)) and manager.available == 3
    assert manager.admit(of(1, 2, 9))


def test_two_that_compute_the_same_at_once_keep_it_once() -> None:
    manager = BlockManager(4, block_size=1)
    both = of(1, 2), of(1, 2)
    assert all(manager.admit(sequence) for sequence in both) and manager.held == 4
    for sequence in both:
        sequence.computed = 2
        manager.remember(sequence)
    for sequence in both:
        manager.release(sequence)
    assert manager.cached == 2 and known(manager, 1, 2, 3) == 2
    manager.clear()
    assert manager.available == 4 and known(manager, 1, 2, 3) == 0


@pytest.mark.parametrize("together", [1, 2, 3, 4, 7, 8])
def test_tables_stay_runs_as_answers_grow(together: int) -> None:
    """Runs are read in place; others have to be gathered, at every step."""
    manager = BlockManager(64, block_size=1)
    sequences = [of(number) for number in range(together)]
    assert all(manager.admit(sequence) for sequence in sequences)
    for _ in range(64 // 8 - 1 if together > 4 else 64 // 4 - 1):
        for sequence in sequences:
            sequence.append(99)
            assert manager.grow(sequence)
    for sequence in sequences:
        first = sequence.block_table[0]
        assert sequence.block_table == list(range(first, first + len(sequence)))


def test_a_prompt_is_one_run_wherever_there_is_a_gap_for_it() -> None:
    manager = BlockManager(32, block_size=1)
    first, second = of(*range(6)), of(*range(50, 56))
    assert manager.admit(first) and manager.admit(second)
    manager.release(first)
    long = of(*range(100, 112))
    assert manager.admit(long)
    assert long.block_table == list(range(long.block_table[0], long.block_table[0] + 12))


def test_ids_and_keys_must_go_together() -> None:
    with pytest.raises(ValueError, match="2 ids and 1 keys"):
        Sequence([1, 2], [1])
    with pytest.raises(ValueError, match="0 ids"):
        Sequence([], [])


def seconds_to_admit(manager: BlockManager, first: int, tokens: int) -> float:
    """Of this thread's own time."""
    sequence = of(*range(first, first + tokens))
    sequence.digests(manager.block_size)
    begin = time.thread_time()
    assert manager.admit(sequence)
    taken = time.thread_time() - begin
    manager.release(sequence)
    return taken


@pytest.mark.parametrize("fragmented", [False, True])
def test_a_pool_full_of_what_is_cached_hands_out_blocks_as_an_empty_one_does(fragmented: bool) -> None:
    """A GPU's pool has 50,000 blocks, and after a while all of them are cached: to look at each for every block that
    somebody needs took eight seconds for one long prompt."""
    tokens, count = 16_000, 50_000
    empty = min(seconds_to_admit(BlockManager(count), 0, tokens) for _ in range(3))
    full, length = BlockManager(count), 64 if fragmented else tokens
    for first in range(0, count * full.block_size, length):
        used(full, of(*range(first, min(first + length, count * full.block_size))))
    assert full.cached == count
    assert seconds_to_admit(full, -tokens, tokens) < 500 * empty
