"""Nothing is computed twice: what a conversation, an edit or another person begins with is found in the pool."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from ovis_app.engine.engine import Engine
from ovis_app.engine.model_runner import ModelRunner
from ovis_app.errors import BackendError
from tests.engine.driven import FAMILIES, LONG, SHORT, Reader, Watched, drive, engine, text
from tests.engine.loads import gone_on
from tests.engine.prompts import Tiny, Written, tiny

SIZE = 4  # tokens of a block here: as much of a common beginning may be computed again, and the last token


def computed(driven: Engine, written: Written) -> tuple[int, list[int]]:
    """Rows that were computed for an answer, and the answer. The last token of an answer is never computed."""
    assert isinstance(driven.runner, Watched)
    before = driven.runner.rows
    ids = driven.generate(written, SHORT).tolist()
    return driven.runner.rows - before - (len(ids) - 1), ids


def common(one: Written, other: Written) -> int:
    """Tokens that two prompts begin with alike, of those that are seen at all."""
    seen = [
        [key for key, kept in zip(each.keys, each.mask.tolist(), strict=True) if kept] for each in (one, other)
    ]  # fmt: skip
    pairs = zip(*seen, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(map(len, seen)))


def seen(written: Written) -> int:
    return int(written.mask.sum())


def asked(small: Tiny, what: str) -> tuple[Written, Written]:
    """A question with a picture, and what is asked after it."""
    picture = (("image", 2),)
    first = small.written([("What is it, and what is that behind it?", picture)])
    return first, {
        "the same by somebody else": first,
        "an edit": small.written([("What is it, and what is that below it?", picture)]),
        "another question about a picture": small.written([("Why?", picture)]),
        "a second turn": small.written(
            [("What is it, and what is that behind it?", picture), ("A cat.", ()), ("And then?", ())]
        ),
        "another picture": small.written([("What is it, and what is that behind it?", (("image", 1),))]),
    }[what]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "what",
    ["the same by somebody else", "an edit", "another question about a picture", "a second turn", "another picture"],
)
def test_only_what_is_new_is_computed(family: str, what: str) -> None:
    small = tiny(family)
    first, second = asked(small, what)
    expected = small.plain(second, SHORT)
    driven = engine(family, block_size=SIZE)
    assert computed(driven, first)[0] == seen(first)
    rows, ids = computed(driven, second)
    reused, same = seen(second) - rows, common(first, second)
    assert same - SIZE <= reused <= same and reused % SIZE == 0 and ids == expected
    assert second.visual is not None and (what == "another picture" or reused > len(second.visual))


def test_the_answer_itself_is_not_computed_again_for_the_next_turn() -> None:
    small = tiny("ovis2.5")
    first = text()
    driven = engine(block_size=SIZE)
    _, said = computed(driven, first)
    second = gone_on(small, first, said, "And then?")
    rows, _ = computed(driven, second)
    assert seen(second) - rows >= len(first.ids) + len(said) - 1 - SIZE


def test_a_thinking_switch_computes_only_what_comes_behind_it() -> None:
    small, turns = tiny("ovis2.5"), [("What is it, and what is that behind it?", (("image", 2),))]
    silent, thinking = (small.written(turns, thinking=switch) for switch in (False, True))
    assert silent.keys != thinking.keys
    driven = engine(block_size=SIZE)
    computed(driven, silent)
    assert computed(driven, thinking)[0] <= seen(thinking) - common(silent, thinking) + SIZE < 16


def test_two_who_ask_the_same_at_the_same_time_share_what_the_first_has_computed() -> None:
    driven = engine(block_size=SIZE, chunk=8)
    first = driven.add(text(), SHORT)
    driven.step()
    driven.step()
    driven.step()
    second = driven.add(text(), SHORT)
    drive(driven, [first, second])
    assert isinstance(driven.runner, Watched)
    assert first.ids.tolist() == second.ids.tolist()
    assert driven.runner.rows <= 2 * (len(text().ids) + len(first.ids)) - 16


def test_pictures_of_one_size_are_not_taken_for_one_another() -> None:
    """Their ids are the same; only their names differ."""
    small = tiny("ovis2.5")
    one = small.written([("What is it?", (("image", 1),))])
    assert one.visual is not None
    name = min(one.keys)
    other = replace(
        one, keys=tuple(name - 1 if key == name else key for key in one.keys), visual=torch.flip(one.visual, (0,)) * 3
    )
    expected = [small.plain(each, SHORT) for each in (one, other)]
    driven = engine(block_size=SIZE)
    assert [computed(driven, each)[1] for each in (one, other, one, other)] == expected * 2


class Failing(ModelRunner):
    """Fails at random, in ways of its own."""

    rng = random.Random(9)

    def run(self, chunks):  # type: ignore[no-untyped-def]
        if self.rng.random() < 0.02:
            raise self.rng.choice([RuntimeError("odd"), torch.OutOfMemoryError("full"), MemoryError()])
        return super().run(chunks)


class Gone(Reader):
    def put(self, value: torch.Tensor) -> None:
        super().put(value)
        if len(self.heard) > 1:
            raise OSError("gone")


@pytest.mark.parametrize(("runner", "count"), [(Watched, 1000), (Failing, 300)])
def test_many_requests_leave_nothing_behind(runner: type[ModelRunner], count: int) -> None:
    """Answered, stopped, failed and refused, in a pool that holds a few of them."""
    rng, small = random.Random(3), tiny("ovis2.5")
    prompts = [text(f"{number}?") for number in range(8)]
    prompts += [small.written([("What?", (("image", number),))]) for number in range(2)]
    driven = engine(blocks=64, block_size=SIZE, chunk=64, runner=runner, lookup=True)
    ended = failed = 0
    answers = []
    for number in range(count):
        reader = rng.choice([Reader, Reader, Reader, Gone])(rng.choice([None, None, 0, 1]))
        try:
            settings = LONG if number % 50 == 0 else replace(SHORT, max_new_tokens=1 + number % 3)
            answers.append(driven.add(rng.choice(prompts), settings, streamer=reader, stop=reader))
        except BackendError:
            failed += 1
        if rng.random() < 0.1:
            driven.step()
    drive(driven, answers, most_steps=20_000)
    for answer in answers:
        try:
            ended += len(answer.wait()) >= 0
        except (BackendError, torch.OutOfMemoryError):
            failed += 1
    assert ended + failed == count and ended > count // 2 and failed > count // 50
    assert driven.blocks.held == 0 and driven.scheduler.idle and not driven.step()
    driven.blocks.clear()
    assert driven.blocks.available == 64
