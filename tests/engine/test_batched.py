"""Many requests at once give what each would give alone, and none is touched by another's end."""

from __future__ import annotations

import copy
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

from ovis_app.engine.batched import BatchedEngine, unfit
from ovis_app.engine.pages import Manager
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.errors import BackendError
from tests.engine.crowd import FAMILIES, LONG, LOREM, SHORT, SMALL, After, engine, random_load, text
from tests.engine.prompts import ENDING, Written, tiny
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pages", [48, 400])  # too few for all at once, and plenty
def test_any_mix_of_requests_is_answered_as_alone(family: str, pages: int) -> None:
    """Text, pictures, clips and several turns; arrivals and departures at random."""
    rng = random.Random(f"{family} {pages}")
    load = random_load(family, rng, 10)
    pauses = [rng.random() * 0.05 for _ in load]
    expected = [tiny(family).solo(written, settings) for written, settings, _ in load]
    with engine(family, replace(SMALL, pages=pages, slots=min(400, pages * 8))) as many:

        def ask(number: int) -> list[int]:
            written, settings, leaves = load[number]
            time.sleep(pauses[number])
            reader = After(10**9 if leaves is None else leaves)
            return many.generate(written, settings, streamer=reader, stop=reader).tolist()

        for _ in range(2):  # the second time, much is found in the pages
            with ThreadPoolExecutor(len(load)) as threads:
                answers = list(threads.map(ask, range(len(load))))
            for (_, _, leaves), answer, whole in zip(load, answers, expected, strict=True):
                assert answer == whole[: len(answer)]
                assert len(answer) >= min(leaves or len(whole), len(whole)) or leaves == 0
                if leaves is None:
                    assert answer == whole
        until(lambda: many.pages[0] == 0)
        assert many.slots.held == 0
        assert any(len(set(answer)) > 1 for answer in expected), "answers of one token prove little"


def test_solo_and_many_at_the_same_time_on_one_model(shared: BatchedEngine) -> None:
    small = tiny("ovis2.5")
    load = random_load("ovis2.5", random.Random(5), 6)
    before = [small.solo(written, settings) for written, settings, _ in load]
    with ThreadPoolExecutor(8) as threads:
        theirs = [threads.submit(shared.generate, written, settings) for written, settings, _ in load]
        mine = threads.submit(lambda: [small.solo(written, settings) for written, settings, _ in load])
        assert [answer.result().tolist() for answer in theirs] == before
        assert mine.result() == before
    assert [small.solo(written, settings) for written, settings, _ in load] == before


def test_starting_leaves_the_process_generator_alone() -> None:
    """A seeded answer of the solo engine may be under way."""
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with engine() as many:
        many.generate(text(), replace(SHORT, temperature=1.0, seed=4))
        assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("limit", [4, 10, 11, 13, 16, 40])
@pytest.mark.parametrize("words", [LOREM, "Why is it so?"])
def test_a_thinking_budget_gives_the_tokens_that_solo_gives(shared: BatchedEngine, limit: int, words: str) -> None:
    settings = replace(SHORT, max_new_tokens=limit)
    written = text(words)
    free = tiny("ovis2.5").solo(written, replace(settings, max_new_tokens=40))
    rare = next(token for token in range(20, 700) if token not in free)
    for think_end in (rare, free[3], free[-1]):  # never comes, comes before the budget, comes late
        budget = ThinkingBudget(budget=10, early_stop=[31, 32, 33], think_end=think_end)
        expected = tiny("ovis2.5").solo(written, settings, budget)
        reader = After(10**9)
        assert shared.generate(written, settings, budget=budget, streamer=reader).tolist() == expected
        assert reader.put_so_far == len(expected) and reader.ended


def test_an_answer_that_never_began_can_be_stopped(shared: BatchedEngine) -> None:
    assert len(shared.generate(text(), LONG, stop=lambda: True)) == 0
    until(lambda: shared.pages[0] == 0)


def test_one_readers_failure_touches_no_other(shared: BatchedEngine) -> None:
    class Broken(After):
        def put(self, value: torch.Tensor) -> None:
            super().put(value)
            if self.put_so_far > 2:
                raise OSError("gone")

    load = random_load("ovis2.5", random.Random(8), 6)
    expected = [tiny("ovis2.5").solo(written, settings) for written, settings, _ in load]
    odd = replace_visual(tiny("ovis2.5").written([("What?", (("image", 1),))]))
    with ThreadPoolExecutor(10) as threads:
        failing = [threads.submit(shared.generate, text(), LONG, streamer=Broken(99)) for _ in range(2)]
        failing += [threads.submit(shared.generate, odd, LONG)]
        asked = [threads.submit(shared.generate, written, settings) for written, settings, _ in load]
        assert [answer.result().tolist() for answer in asked] == expected
        assert [type(failed.exception()) for failed in failing] == [OSError, OSError, ValueError]
        until(lambda: shared.pages[0] == 0)
        assert shared.slots.held == 0


def replace_visual(written: Written) -> Written:
    """A prompt with fewer embeddings than places."""
    assert written.visual is not None
    return replace(written, visual=written.visual[:-1])


@pytest.mark.parametrize(
    ("error", "said"), [(torch.OutOfMemoryError("full"), "lower max pixels"), (RuntimeError("secret"), "try again")]
)
def test_a_failed_step_is_a_sentence_and_the_next_request_works(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    steps: list[int] = []
    whole = Manager._generation_step

    def failing(self: Manager) -> None:
        steps.append(1)
        if len(steps) == 4:
            raise error
        whole(self)

    expected = tiny("ovis2.5").solo(text(), SHORT)
    monkeypatch.setattr(Manager, "_generation_step", failing)
    with engine() as many:
        with ThreadPoolExecutor(3) as threads:
            asked = [threads.submit(many.generate, text(f"{n} {LOREM}"), LONG) for n in range(3)]
            failures = [answer.exception() for answer in asked]
        assert all(failure is None or isinstance(failure, BackendError) for failure in failures)
        sentences = [str(failure) for failure in failures if failure is not None]
        assert sentences and all(said in sentence and "secret" not in sentence for sentence in sentences)
        assert many._manager is None, "its memory is still held"
        assert many.generate(text(), SHORT).tolist() == expected
        assert many.slots.held == 0


def test_a_thread_that_died_silently_is_a_sentence_and_the_next_request_works(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tiny("ovis2.5").solo(text(), SHORT)
    with engine() as many:
        with monkeypatch.context() as patch:
            patch.setattr(Manager, "_run_generation_loop", lambda self: None)
            over = time.monotonic() + PATIENCE
            with pytest.raises(BackendError, match="try again"):
                many.generate(text(), SHORT, stop=lambda: time.monotonic() > over)
        assert many.generate(text(), SHORT).tolist() == expected


def test_a_seed_repeats_an_answer_whoever_else_asks(shared: BatchedEngine) -> None:
    hot = replace(SHORT, temperature=1.5, top_p=0.9, top_k=40, seed=7, max_new_tokens=30)
    alone = shared.generate(text(), hot).tolist()
    others = [replace(hot, seed=seed) for seed in range(100, 106)]
    with ThreadPoolExecutor(8) as threads:
        crowd = [threads.submit(shared.generate, text(), settings) for settings in [*others, SHORT, hot]]
        answers = [answer.result().tolist() for answer in crowd]
    assert answers[-1] == alone and answers[-2] == tiny("ovis2.5").solo(text(), SHORT)
    assert len({tuple(answer) for answer in answers[:6]}) > 1


@pytest.mark.parametrize("rules", [{}, {"top_k": 0}, {"top_k": 0, "top_p": 1.0}, {"top_k": 3, "top_p": 0.5}])
@pytest.mark.parametrize("budget", [None, 10])
def test_a_seed_repeats_an_answer_whichever_engine_gives_it(
    shared: BatchedEngine, rules: dict[str, Any], budget: int | None
) -> None:
    """Nobody knows who else will ask: whoever is alone is answered by solo. Also past a thought's forced end."""
    small = tiny("ovis2.5")
    written = small.written([(LOREM, (("image", 2),))])
    thought = None if budget is None else ThinkingBudget(budget=budget, think_end=3, early_stop=[11, 12, 13])
    for seed in range(4):
        hot = replace(SHORT, temperature=1.3, seed=seed, max_new_tokens=30, **rules)
        together = shared.generate(written, hot, budget=thought).tolist()
        assert together == small.solo(written, hot, thought) and len(together) > 5


def test_what_it_cannot_do_is_refused_with_a_reason() -> None:
    long, picture = text("word " * 300), tiny("ovis2.5").written([("What?", (("image", 3), ("image", 1)))])
    hidden = replace(text(), mask=torch.tensor([0] + [1] * (len(text().ids) - 1)))
    with engine(sizes=replace(SMALL, slots=4)) as many:
        assert many.refuses(text(), SHORT) is None
        assert "repetition" in (many.refuses(text(), replace(SHORT, repetition_penalty=1.1)) or "")
        assert "padding" in (many.refuses(hidden, SHORT) or "")
        assert "max new tokens" in (many.refuses(text(), replace(SHORT, max_new_tokens=4000)) or "")
        assert "max pixels" in (many.refuses(picture, SHORT) or "")
        with pytest.raises(BackendError, match=r"tokens and the memory .* holds 1,024"):
            many.generate(long, SHORT)
        assert many.pages == (0, 0) and many._manager is None, "it was refused before anything began"


def test_gemma_is_left_to_solo() -> None:
    model = tiny("ovis1.6").model
    assert "sliding window" in (unfit(model) or "")
    with pytest.raises(BackendError, match="sliding window"):
        BatchedEngine(model, ENDING, SMALL)
    assert all(unfit(tiny(family).model) is None for family in FAMILIES)


def test_a_model_over_several_devices_is_left_to_solo() -> None:
    """The pages are one tensor on one device."""
    model = copy.deepcopy(tiny("ovis2.5").model)
    model.llm.model.layers[-1].to("meta")
    assert "several devices" in (unfit(model) or "")
    with pytest.raises(BackendError, match="several devices"):
        BatchedEngine(model, ENDING, SMALL)


def test_the_attention_of_the_model_itself_stays_as_it_was() -> None:
    model = tiny("ovis2.5").model
    before = model.llm.get_input_embeddings(), model.llm.config._attn_implementation, set(vars(model.llm))
    with engine() as many:
        many.generate(text(), SHORT)
    assert before == (model.llm.get_input_embeddings(), model.llm.config._attn_implementation, set(vars(model.llm)))


def test_closing_ends_what_is_under_way() -> None:
    with ThreadPoolExecutor(1) as threads, engine() as many:
        reader = After(10**9)
        asked = threads.submit(many.generate, text(), LONG, streamer=reader)
        until(lambda: reader.put_so_far > 0)
        many.close()
        assert "shut down" in str(asked.exception(PATIENCE))
        with pytest.raises(BackendError, match="shut down"):
            many.generate(text(), SHORT)
