"""Whoever asks for the device first has it first, so that nobody waits for more than one piece of another's work."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from torch import Tensor

from ovis_app.engine.scheduler import Chunk
from ovis_app.turns import Turns
from tests.engine.driven import SHORT, Watched, engine, text
from tests.waiting import PATIENCE, until


def in_line(turns: Turns, count: int) -> None:
    """Waits until so many have or want the turn."""
    until(lambda: len(turns._line) == count)


def test_turns_are_served_in_the_order_of_asking() -> None:
    turns, order = Turns(), list[int]()

    def ask(number: int) -> None:
        with turns:
            order.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    with turns:
        for number, thread in enumerate(threads):
            thread.start()
            in_line(turns, number + 2)
        assert order == []
    for thread in threads:
        thread.join(PATIENCE)
    assert order == list(range(8))


def test_one_that_asks_again_and_again_lets_others_in_between() -> None:
    """A plain lock would mostly go to the one that has just released it: the engine would take every turn."""
    turns, order = Turns(), list[str]()

    def once() -> None:
        with turns:
            order.append("once")

    other = threading.Thread(target=once)
    for number in range(5):
        with turns:
            order.append("again")
            if number == 1:
                other.start()
                in_line(turns, 2)
    other.join(PATIENCE)
    assert order == ["again", "again", "once", "again", "again", "again"]


def test_one_at_a_time() -> None:
    turns, inside, most = Turns(), list[int](), list[int]()

    def work() -> None:
        for _ in range(100):
            with turns:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert most == [1] * 400


def test_a_failure_gives_the_turn_on() -> None:
    turns = Turns()
    with pytest.raises(OSError), turns:
        raise OSError
    with turns:
        pass
    in_line(turns, 0)


def test_the_engine_takes_a_turn_for_each_step() -> None:
    """Whoever reads a picture meanwhile comes between two of them."""
    turns, inside = Turns(), list[int]()

    class Looking(Watched):
        def run(self, chunks: Sequence[Chunk]) -> Tensor | None:
            inside.append(len(turns._line))
            return super().run(chunks)

    driven = engine(chunk=7, runner=Looking)
    driven.turns = turns
    driven.generate(text(), SHORT)
    assert len(inside) > 12 and {*inside} == {1}
    in_line(turns, 0)
