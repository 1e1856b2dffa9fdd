"""What many requests at once hold: pages are shared, given back at once, and waited for; slots never leak."""

from __future__ import annotations

import random
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers.generation.continuous_batching import cache as paged_cache
from transformers.generation.continuous_batching import continuous_api

from ovis_app import zoo
from ovis_app.checkpoints import memory_fit
from ovis_app.checkpoints.load import load
from ovis_app.checkpoints.memory_fit import working_memory
from ovis_app.checkpoints.placement import Placement
from ovis_app.engine import pages
from ovis_app.engine import slots as slots_module
from ovis_app.engine.batched import BatchedEngine, unfit
from ovis_app.engine.paged import Means
from ovis_app.engine.pages import Manager, Scheduler, Sizes, bytes_of_a_token
from ovis_app.engine.segments import SEGMENTS
from ovis_app.engine.slots import twin
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.errors import BackendError
from tests.engine.crowd import LONG, LOREM, SHORT, SMALL, After, engine, text
from tests.engine.prompts import ENDING, tiny
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.usefixtures("one_thread")


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
            assert [answer.result(PATIENCE).tolist() for answer in asked] == expected


def test_those_that_wait_go_on_when_those_that_fill_the_cache_leave() -> None:
    with ThreadPoolExecutor(6) as threads, engine(sizes=replace(SMALL, pages=24)) as many:
        leaving = threading.Event()
        fill = replace(SHORT, max_new_tokens=140)
        settings = {"stop": leaving.is_set}
        full = [threads.submit(many.generate, text(f"{n} {LOREM}"), fill, **settings) for n in range(4)]
        until(lambda: many._manager is not None and _blocked(many._manager))
        waiting = threads.submit(many.generate, text("Wait."), SHORT)
        leaving.set()
        assert waiting.result(PATIENCE).tolist() == tiny("ovis2.5").solo(text("Wait."), SHORT)
        for one in full:
            one.result(PATIENCE)


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


def test_pages_leave_room_to_read_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU of 24 GB with 2 GB free, the tower's 1.2 GB stay free; with less there is no engine."""
    working, token = int(1.2e9), 115_000
    assert 2e9 - pages.share(int(2e9), working) > working
    assert pages.share(int(1e9), working) == 0
    assert pages.tokens_in(pages.share(int(2e9), working), token, pages.GPU_TOKENS) > 5000
    assert pages.tokens_in(pages.share(int(1.3e9), working), token, pages.GPU_TOKENS) == 0
    assert pages.tokens_in(int(1e12), token, pages.GPU_TOKENS) == pages.GPU_TOKENS
    model = tiny("ovis2.5").model
    monkeypatch.setattr(
        Sizes, "fitting", lambda llm, working: Sizes(pages=0 if working == working_memory(model) else 9)
    )
    assert "no memory" in (unfit(model) or "")


def test_the_room_to_work_is_the_estimates() -> None:
    """What loading counts with, an engine leaves."""
    model = load(zoo.MINI_FOLDER)
    estimate = memory_fit.fit(replace(zoo.MINI, context=model.config.max_context), Placement("cpu", torch.float32))
    assert working_memory(model) == estimate.vision + estimate.reserve
    wide = memory_fit.vision_peak(40960, 1152, 65536, 2)
    assert wide == 16384 * 1152 * 14 * 2 + 256 * 65536 * 12


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
        assert [answer.result(PATIENCE).tolist() for answer in asked] == [expected[n % 4] for n in range(40)]
        assert many.slots._highest < renew + 5 * (rows + 4), "they never began anew"


def test_warming_takes_the_memory_before_the_first_request() -> None:
    with engine() as many:
        many.warm()
        assert many._manager is not None and many._manager.alive
        until(lambda: many._manager.batch_processor is not None)
        assert many.generate(text(), SHORT).tolist() == tiny("ovis2.5").solo(text(), SHORT)


def test_what_the_sizes_leave_room_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original's own estimate counts a mask that no attention here has, which is most of it for a small model."""
    with engine(sizes=replace(SMALL, step=512)) as many:
        free = (torch.device("cpu"), 2 * many.bytes, 0, 0)
        monkeypatch.setattr(paged_cache, "get_device_and_memory_breakdown", lambda: free)
        assert many.generate(text(), SHORT).tolist() == tiny("ovis2.5").solo(text(), SHORT)


def test_after_a_failure_the_next_manager_finds_the_memory_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU the pages are most of what is free: two sets of them don't fit."""
    caches: list[weakref.ref[torch.Tensor]] = []
    whole, step = Manager._create_batch_processor, Manager._generation_step
    failing = [True]

    def watched(self: Manager) -> Any:
        assert all(cache() is None for cache in caches) or self.batch_processor is not None
        processor = whole(self)
        caches.append(weakref.ref(processor.cache.cache_tensor))
        return processor

    def full(self: Manager) -> None:
        if failing and failing.pop():
            raise torch.OutOfMemoryError("full")
        step(self)

    monkeypatch.setattr(Manager, "_create_batch_processor", watched)
    monkeypatch.setattr(Manager, "_generation_step", full)
    monkeypatch.setattr(continuous_api.logger, "error", lambda *_, **__: None)  # pytest keeps what is logged
    with engine() as many:
        with pytest.raises(BackendError, match="ran out of memory"):
            many.generate(text(), SHORT)
        assert many.generate(text(), SHORT).tolist() == tiny("ovis2.5").solo(text(), SHORT)


def test_an_engine_that_cannot_answer_says_so_when_it_warms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original only logs that a graph couldn't be recorded; then every answer would fail."""

    def broken(self: Manager) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(Manager, "_generation_step", broken)
    with engine() as many:
        with pytest.raises(BackendError):
            many.warm()
        with pytest.raises(BackendError, match="shut down"):
            many.generate(text(), SHORT)


def test_graphs_are_recorded_before_the_first_question_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """New tokens come in a few sizes of batch; prompts in hundreds, which would be recorded while somebody waits."""
    asked: list[Any] = []
    whole = pages.ContinuousBatchingConfig
    monkeypatch.setattr(
        pages, "ContinuousBatchingConfig", lambda **how: asked.append(how["use_cuda_graph"]) or whole(**how)
    )
    llm, _ = twin(tiny("ovis2.5").model.llm, 8)
    for in_place, wanted in ((True, (False, True)), (False, (True, True))):
        found = Means(SEGMENTS, graphs=True, in_place=in_place)
        monkeypatch.setattr(pages, "means", lambda _, found=found: found)
        monkeypatch.setattr(pages.Manager, "warmup", lambda self: asked.append("warm"))
        Manager(llm, ENDING, SMALL)
        assert asked == [wanted]
        asked.clear()
    with engine() as many:
        many._started()
        assert asked[-1] == "warm", "also those of a manager that comes after one that failed"


def test_memory_is_bounded_by_what_was_allowed() -> None:
    allowed = 3_000_000
    sizes = Sizes.fitting(tiny("ovis2.5").model.llm, allowed)
    assert allowed // 2 < sizes.tokens * bytes_of_a_token(tiny("ovis2.5").model.llm, sizes.step) <= allowed
    with engine(sizes=sizes) as many:
        many.generate(text(), SHORT)
        assert many._manager is not None
        cache, table = many._manager.batch_processor.cache, many.slots.embedding.table
        assert cache.cache_tensor.nbytes + table.nbytes < allowed * 1.05
