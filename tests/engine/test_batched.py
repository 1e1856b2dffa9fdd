"""Many requests at once give what each would give alone, and none is touched by another's end."""

from __future__ import annotations

import copy
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

from ovis_app import zoo
from ovis_app.engine import pages
from ovis_app.engine import slots as slots_module
from ovis_app.engine.batched import BatchedEngine, unfit
from ovis_app.engine.budget import ThinkingBudget
from ovis_app.engine.pages import Manager, Scheduler, Sizes, bytes_of_a_token
from ovis_app.generation import BackendError, GenerationSettings
from ovis_app.models import memory
from ovis_app.models.load import load
from ovis_app.models.memory import working_room
from tests.engine.prompts import ENDING, Written, tiny

FAMILIES = ["ovis2.5", "ovis2", "llama"]
SMALL = Sizes(page=8, pages=128, step=64, requests=8, slots=400)
SHORT = GenerationSettings(max_new_tokens=12)
LONG = GenerationSettings(max_new_tokens=600)
LOREM = "One two three four five six seven."


@contextmanager
def engine(family: str = "ovis2.5", sizes: Sizes = SMALL) -> Iterator[BatchedEngine]:
    made = BatchedEngine(tiny(family).model, ENDING, sizes)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are slower on many threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens that each step of an engine reads."""
    read: list[int] = []
    whole = Manager._generation_step

    def counting(self: Manager) -> None:
        read.append(self.batch_processor.inputs_and_outputs.total_seqlen_q)
        whole(self)

    monkeypatch.setattr(Manager, "_generation_step", counting)
    return read


@pytest.fixture(scope="module")
def shared() -> Iterator[BatchedEngine]:
    with engine() as made:
        yield made


def text(words: str = LOREM, family: str = "ovis2.5") -> Written:
    return tiny(family).written([(words, ())])


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits for a condition; fails when it never comes."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "never happened"
        time.sleep(0.002)


class After:
    """A stop that comes true once it has been put that many tokens; also the streamer that counts them."""

    def __init__(self, tokens: int) -> None:
        self.tokens, self.put_so_far, self.ended = tokens, 0, False

    def put(self, value: torch.Tensor) -> None:
        self.put_so_far += len(value)

    def end(self) -> None:
        self.ended = True

    def __call__(self) -> bool:
        return self.put_so_far >= self.tokens


def random_load(family: str, rng: random.Random, count: int) -> list[tuple[Written, GenerationSettings, int | None]]:
    """Prompts, how to answer them, and after how many tokens their reader leaves (None: stays)."""
    load = []
    for _ in range(count):
        settings = replace(SHORT, max_new_tokens=rng.choice((1, 5, 12, 40)))
        leaves = rng.randrange(settings.max_new_tokens) if rng.random() < 0.25 else None
        load.append((tiny(family).written(tiny(family).random_turns(rng)), settings, leaves))
    return load


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


def test_a_second_turn_and_another_user_reuse_the_pages(steps: list[int]) -> None:
    small = tiny("ovis2.5")
    first = small.written([("What is it?", (("image", 1),))])
    second = small.written([("What is it?", (("image", 1),)), ("A cat.", ()), ("And then?", ())])
    with engine() as many:
        many.generate(first, replace(SHORT, max_new_tokens=1))
        ids = len(first.ids)
        assert max(steps) == ids
        for written in (second, first):
            steps.clear()
            many.generate(written, replace(SHORT, max_new_tokens=1))
            assert max(steps) <= len(written.ids) - (ids // 8 - 1) * 8
        assert many.slots.kept == len(first.visual)


def test_stop_gives_the_pages_back_at_once(shared: BatchedEngine, steps: list[int]) -> None:
    reader = After(5)
    answer = shared.generate(text(), LONG, streamer=reader, stop=reader)
    made = len(steps)
    assert 5 <= len(answer) < 40 and reader.ended
    until(lambda: shared.pages[0] == 0)
    assert len(steps) <= made + 3  # the step under way, not the 600 asked for


def test_a_thought_is_cancelled_at_its_budget(shared: BatchedEngine, steps: list[int]) -> None:
    budget = ThinkingBudget(budget=10, early_stop=[31, 32, 33], think_end=703)
    shared.generate(text(), replace(LONG, max_new_tokens=200), budget=budget)
    assert len(steps) < 210  # not 200 for the thought and 187 for the answer


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
        assert {type(failure) for failure in failures} <= {BackendError, type(None)}
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
            over = time.monotonic() + 10
            with pytest.raises(BackendError, match="try again"):
                many.generate(text(), SHORT, stop=lambda: time.monotonic() > over)
        assert many.generate(text(), SHORT).tolist() == expected


def test_a_full_cache_queues() -> None:
    """Each request takes most of the pages: they are answered one after another, and all of them."""
    sizes = replace(SMALL, pages=14)
    prompts = [text(f"{number} {LOREM}") for number in range(6)]
    settings = replace(SHORT, max_new_tokens=60)
    expected = [tiny("ovis2.5").solo(written, settings) for written in prompts]
    with engine(sizes=sizes) as many:
        assert len(prompts[0].ids) + 60 > sizes.tokens // 2
        with ThreadPoolExecutor(6) as threads:
            asked = [threads.submit(many.generate, written, settings) for written in prompts]
            assert [answer.result(30).tolist() for answer in asked] == expected


def test_those_that_wait_go_on_when_those_that_fill_the_cache_leave() -> None:
    with ThreadPoolExecutor(6) as threads, engine(sizes=replace(SMALL, pages=24)) as many:
        leaving = threading.Event()
        fill = replace(SHORT, max_new_tokens=140)
        settings = {"stop": leaving.is_set}
        full = [threads.submit(many.generate, text(f"{n} {LOREM}"), fill, **settings) for n in range(4)]
        until(lambda: many._manager is not None and _blocked(many._manager))
        waiting = threads.submit(many.generate, text("Wait."), SHORT)
        leaving.set()
        assert waiting.result(10).tolist() == tiny("ovis2.5").solo(text("Wait."), SHORT)
        for one in full:
            one.result(10)


def _blocked(manager: Manager) -> bool:
    """Whether the scheduler takes nobody in until somebody has finished."""
    processor = manager.batch_processor
    return processor is not None and processor.scheduler.block_new_requests


def test_cancelled_states_are_left_alone_by_the_step_under_way(shared: BatchedEngine) -> None:
    """On a GPU a step may be under way; it looks at a state's status before it looks for its pages."""
    seen: list[Any] = []
    whole = Scheduler.clear_cancelled_requests

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scheduler, "clear_cancelled_requests", lambda self: seen.extend(found := whole(self)) or found)
        reader = After(3)
        shared.generate(text(), LONG, streamer=reader, stop=reader)
        until(lambda: bool(seen))
    assert {state.status.name for state in seen} == {"FINISHED"}


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


def test_pages_leave_room_to_read_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU of 24 GB with 2 GB free, the tower's 1.2 GB stay free; with less there is no engine."""
    working, token = int(1.2e9), 115_000
    assert 2e9 - pages.share(int(2e9), working) > working
    assert pages.share(int(1e9), working) == 0
    assert pages.tokens_in(pages.share(int(2e9), working), token, pages.GPU_TOKENS) > 5000
    assert pages.tokens_in(pages.share(int(1.3e9), working), token, pages.GPU_TOKENS) == 0
    assert pages.tokens_in(int(1e12), token, pages.GPU_TOKENS) == pages.GPU_TOKENS
    model = tiny("ovis2.5").model
    monkeypatch.setattr(Sizes, "fitting", lambda llm, working: Sizes(pages=0 if working == working_room(model) else 9))
    assert "no memory" in (unfit(model) or "")


def test_the_room_to_work_is_the_estimates() -> None:
    """What loading counts with, an engine leaves."""
    model = load(zoo.MINI_FOLDER)
    estimate = memory.fit(replace(zoo.MINI, context=model.config.max_context), device="cpu", dtype="float32")
    assert working_room(model) == estimate.vision + estimate.reserve
    wide = memory.vision_peak(40960, 1152, 65536, 2)
    assert wide == 16384 * 1152 * 14 * 2 + 256 * 65536 * 12


def test_the_attention_of_the_model_itself_stays_as_it_was() -> None:
    model = tiny("ovis2.5").model
    before = model.llm.get_input_embeddings(), model.llm.config._attn_implementation, set(vars(model.llm))
    with engine() as many:
        many.generate(text(), SHORT)
    assert before == (model.llm.get_input_embeddings(), model.llm.config._attn_implementation, set(vars(model.llm)))


def test_slots_never_leak() -> None:
    """A thousand requests with pictures over a table that holds a few, answered, stopped and failed."""
    small, rng = tiny("ovis2.5"), random.Random(3)
    prompts = [
        small.written([("What?", (("image", n),)), ("A.", ()), (f"{n}?", (("image", 3 - n),))]) for n in range(4)
    ]
    sizes = replace(SMALL, pages=96, step=256, requests=16, slots=2 * max(len(one.visual) for one in prompts))

    class Leaves(After):
        def put(self, value: torch.Tensor) -> None:
            if self.tokens == 1:
                raise OSError("gone")

    def ask(number: int) -> None:
        settings = replace(SHORT, max_new_tokens=1 + number % 2)
        way = rng.randrange(10)
        try:
            reader = Leaves(way) if way == 1 else After(way) if way == 0 else None
            many.generate(prompts[number % 4], settings, streamer=reader, stop=reader or (lambda: False))
        except OSError:
            pass

    with ThreadPoolExecutor(16) as threads, engine(sizes=sizes) as many:
        list(threads.map(ask, range(1000)))
        assert many.slots.held == 0 and not many.slots._line
        assert many.slots.kept + len(many.slots._free) == many.slots.capacity == sizes.slots
        until(lambda: many.pages[0] == 0)
        assert many._manager is not None and many._manager.router.boxes == {}
        cache = many._manager.batch_processor.cache
        assert many.pages[1] + round(cache.compute_free_capacity(relative=True) * sizes.pages) == sizes.pages


def test_ids_begin_anew_while_requests_come(monkeypatch: pytest.MonkeyPatch) -> None:
    small = tiny("ovis2.5")
    prompts = [small.written([("What?", (("image", n),))]) for n in range(4)]
    expected = [small.solo(written, SHORT) for written in prompts]
    rows = max(len(written.visual) for written in prompts)  # the table holds one picture at a time
    monkeypatch.setattr(slots_module, "RENEW", renew := 780)  # the vocabulary has 704
    with ThreadPoolExecutor(4) as threads, engine(sizes=replace(SMALL, slots=rows)) as many:
        asked = [threads.submit(many.generate, prompts[n % 4], SHORT) for n in range(40)]
        assert [answer.result(30).tolist() for answer in asked] == [expected[n % 4] for n in range(40)]
        assert many.slots._highest < renew + 5 * (rows + 4), "they never began anew"


def test_closing_ends_what_is_under_way() -> None:
    with ThreadPoolExecutor(1) as threads, engine() as many:
        reader = After(10**9)
        asked = threads.submit(many.generate, text(), LONG, streamer=reader)
        until(lambda: reader.put_so_far > 0)
        many.close()
        assert "shut down" in str(asked.exception(10))
        with pytest.raises(BackendError, match="shut down"):
            many.generate(text(), SHORT)


def test_warming_takes_the_memory_before_the_first_request() -> None:
    with engine() as many:
        many.warm()
        assert many._manager is not None and many._manager.alive
        until(lambda: many._manager.batch_processor is not None)
        assert many.generate(text(), SHORT).tolist() == tiny("ovis2.5").solo(text(), SHORT)


def test_memory_is_bounded_by_what_was_allowed() -> None:
    allowed = 3_000_000
    sizes = Sizes.fitting(tiny("ovis2.5").model.llm, allowed)
    assert allowed // 2 < sizes.tokens * bytes_of_a_token(tiny("ovis2.5").model.llm, sizes.step) <= allowed
    with engine(sizes=sizes) as many:
        many.generate(text(), SHORT)
        assert many._manager is not None
        cache, table = many._manager.batch_processor.cache, many.slots.embedding.table
        assert cache.cache_tensor.nbytes + table.nbytes < allowed * 1.05
