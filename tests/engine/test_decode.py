"""The decoder's tokens are `generate`'s tokens, whatever is asked for, and nothing of one question reaches the next.

Here every step is launched one by one; on a GPU the same steps are recorded as graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from ovis_app.checkpoints.load import load
from ovis_app.checkpoints.memory_fit import working_memory
from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine import decode, paged, solo
from ovis_app.engine.decode import Decoder, recordable, recorded, room, servable, sizes
from ovis_app.engine.loop import Relay
from ovis_app.engine.static_cache import CacheShape
from ovis_app.engine.thinking_budget import ThinkingBudget
from ovis_app.generation import GenerationSettings
from ovis_app.models.ovis import Ovis

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
FAMILIES = ["ovis2.5", "ovis2"]
NEVER = Ending((600,), 0)  # an id that none of the answers below contains
LONG = GenerationSettings(max_new_tokens=40)


@cache
def model(family: str = "ovis2.5") -> Ovis:
    return load(GOLDEN / family / "public-a" / "checkpoint")


@cache
def decoder(family: str = "ovis2.5") -> Decoder:
    return Decoder(model(family).llm, 600)


def prompt(tokens: int, seed: int = 0) -> Tensor:
    return torch.randint(1, 500, (tokens,), generator=torch.Generator().manual_seed(seed))


def answer(
    tokens: int, settings: GenerationSettings, *, family: str = "ovis2.5", seed: int = 0, **options: Any
) -> list[int]:
    options.setdefault("ending", NEVER)
    embeddings = solo.embeddings(model(family), prompt(tokens, seed), None)
    return solo.generate(model(family), embeddings, settings, **options).tolist()


def empty(used: Decoder) -> bool:
    buffers = [*used.cache.keys, *used.cache.values, used.cache.place, used.position, used.token, used.logits]
    return not any(int(buffer.count_nonzero()) for buffer in buffers) and bool(used.cache.mask.isinf().all())


class Heard(list[int]):
    """A streamer that raises, stops or only listens."""

    def __init__(self, at: int = -1, act: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.at, self.act, self.ended = at, act, False

    def put(self, value: Tensor) -> None:
        self += value.tolist()
        if len(self) == self.at:
            self.act()

    def end(self) -> None:
        self.ended = True


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tokens", [1, 7, 100, 128, 250])  # 100 and 250 pass from one chunk to the next on the way
def test_greedy_tokens_are_those_of_generate(family: str, tokens: int) -> None:
    plain = answer(tokens, LONG, family=family)
    assert answer(tokens, LONG, family=family, decoder=decoder(family)) == plain
    assert len(plain) == 40 and len(set(plain)) > 3


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.7},
        {"temperature": 1.0, "top_p": 1.0, "top_k": 0},
        {"temperature": 1.5, "top_p": 0.5, "top_k": 50, "repetition_penalty": 1.3},
        {"temperature": 0.001, "repetition_penalty": 1.7},
        {"repetition_penalty": 1.5},
        {"max_new_tokens": 1},
        {"max_new_tokens": 2},
    ],
)
def test_sampling_is_that_of_generate(changes: dict[str, Any]) -> None:
    settings = GenerationSettings(**{"max_new_tokens": 30, "seed": 11, **changes})
    assert answer(20, settings, decoder=decoder()) == answer(20, settings)


def test_no_seed_is_another_answer_each_time() -> None:
    hot = GenerationSettings(max_new_tokens=30, temperature=2.0, top_p=1.0, top_k=0)
    assert len({tuple(answer(20, hot, decoder=used)) for used in (None, None, decoder(), decoder())}) == 4


@pytest.mark.parametrize("hidden", [(0,), (3, 4, 99), tuple(range(60))])
def test_tokens_that_attention_must_not_see_stay_hidden(hidden: tuple[int, ...]) -> None:
    mask = torch.ones(130, dtype=torch.long)
    mask[list(hidden)] = 0
    plain = answer(130, LONG, mask=mask)
    assert answer(130, LONG, mask=mask, decoder=decoder()) == plain
    assert plain != answer(130, LONG)


def test_an_answer_ends_where_generate_ends_it() -> None:
    whole = answer(33, LONG)
    ending = Ending((whole[12], 601), 0)
    heard = Heard()
    ids = answer(33, LONG, ending=ending, decoder=decoder(), streamer=heard)
    assert ids == answer(33, LONG, ending=ending) == heard
    assert heard.ended and ids[-1] == whole[12] and len(ids) <= 13


@pytest.mark.parametrize("limit", [4, 9, 12, 40])
@pytest.mark.parametrize("ends", [False, True])
def test_a_thinking_budget_forces_the_same_text(limit: int, ends: bool) -> None:
    """The forced text is finished even past the limit, and left out where the thought ended by itself."""
    whole = answer(21, LONG)
    end = whole[3] if ends else 602
    budget = ThinkingBudget(budget=6, early_stop=[31, 32, 33, 34], think_end=end)
    settings = GenerationSettings(max_new_tokens=limit)
    plain = answer(21, settings, budget=budget)
    assert answer(21, settings, budget=budget, decoder=decoder()) == plain
    assert (plain[6:10] == [31, 32, 33, 34]) == (not ends and limit > 6 - 1)


def test_a_conversation_goes_on_from_either_ways_cache() -> None:
    """What is kept after an answer is as long, and as good, whoever computed it."""
    text = prompt(300)
    caches = {}
    for name, used in (("plain", None), ("ours", decoder())):
        caches[name] = DynamicCache(config=model().llm.config)
        for end in (100, 180, 300):
            embeddings = solo.embeddings(model(), text[:end], None)
            said = solo.generate(
                model(), embeddings, LONG, ending=NEVER, cache=caches[name], decoder=used, stop=lambda: False
            )
            assert caches[name].get_seq_length() == end + len(said) - 1
            caches[name].crop(-(len(said) - 1))
    for one, other in zip(caches["plain"].layers, caches["ours"].layers, strict=True):
        torch.testing.assert_close(one.keys, other.keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(one.values, other.values, atol=1e-5, rtol=1e-5)


def test_kept_answers_tokens_are_the_ones_computed() -> None:
    caches = [DynamicCache(config=model().llm.config) for _ in range(2)]
    for kept, used in zip(caches, (None, decoder()), strict=True):
        answer(110, LONG, cache=kept, decoder=used)
    for one, other in zip(caches[0].layers, caches[1].layers, strict=True):
        torch.testing.assert_close(one.keys, other.keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(one.values, other.values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("after", [1, 5])
def test_stop_ends_it_within_a_token_and_leaves_nothing(after: int) -> None:
    stopped: list[bool] = []
    heard = Heard(after, lambda: stopped.append(True))
    kept = DynamicCache(config=model().llm.config)
    ids = answer(50, LONG, decoder=decoder(), streamer=heard, stop=lambda: bool(stopped), cache=kept)
    assert after <= len(ids) <= after + 1 and ids == heard == answer(50, LONG)[: len(ids)]
    assert kept.get_seq_length() == 50 + len(ids) - 1
    assert empty(decoder())


def test_a_failure_leaves_nothing_even_where_numbers_went_bad() -> None:
    class Broken(Exception):
        pass

    def breaks() -> None:
        decoder().cache.values[0][0, :, 60:] = torch.nan
        raise Broken

    with pytest.raises(Broken):
        answer(50, LONG, decoder=decoder(), streamer=Heard(4, breaks))
    assert empty(decoder())
    assert answer(50, LONG, decoder=decoder()) == answer(50, LONG)


def test_running_out_of_memory_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Decoder, token: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("full")

    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "step", full)
        with pytest.raises(torch.OutOfMemoryError):
            answer(50, LONG, decoder=decoder())
    assert empty(decoder())
    assert answer(50, LONG, decoder=decoder()) == answer(50, LONG)


def test_what_has_no_room_goes_the_general_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solo, "run", lambda *_, **__: pytest.fail("it doesn't fit"))
    small = Decoder(model().llm, 128)
    assert small.fits(128) and not small.fits(129)
    assert answer(100, LONG, decoder=small) == answer(100, LONG)


def test_the_last_token_of_a_full_decoder_is_right() -> None:
    small = Decoder(model().llm, 128)
    settings = GenerationSettings(max_new_tokens=28)
    assert answer(100, settings, decoder=small) == answer(100, settings)


@pytest.mark.parametrize("chunks", [1, 3, 4, 5, 32, 313])
def test_lengths_cover_everything_with_little_to_spare(chunks: int) -> None:
    found = sizes(chunks)
    assert found[-1] == chunks and found == sorted(set(found)) and len(found) <= 16
    for needed in range(1, chunks + 1):
        size = next(size for size in found if size >= needed)
        assert size <= max(needed * 1.5, decode.SMALLEST)


def test_one_compilation_serves_all_lengths() -> None:
    """Traced whole, without a break that would leave part of a step to Python."""
    compiled: list[Any] = []

    def counting(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    ours = Decoder(model().llm, 1500, backend=counting)
    ours.record(lambda done, total: None)
    assert len(ours.sizes) > 3 and len(compiled) == 1 and empty(ours)
    assert answer(600, LONG, decoder=ours) == answer(600, LONG)
    assert len(compiled) == 1


def test_recording_tells_its_progress_and_may_be_cancelled() -> None:
    told: list[tuple[int, int]] = []
    ours = Decoder(model().llm, 1500)
    ours.record(lambda done, total: told.append((done, total)))
    assert told == [(done, len(ours.sizes)) for done in range(len(ours.sizes) + 1)]

    class Enough(Exception):
        pass

    def enough(done: int, total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        recorded(model().llm, 1500, enough, runner=decode.Eager)


def test_where_compiling_fails_steps_are_recorded_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: Any, **options: Any) -> Any:
        raise RuntimeError("no C compiler")

    monkeypatch.setattr(torch, "compile", no_compiler)
    ours = recorded(model().llm, 600, lambda done, total: None, runner=decode.Eager)
    assert ours is not None
    assert answer(50, LONG, decoder=ours) == answer(50, LONG)

    class Unrecordable(decode.Eager):
        def record(self, chunks: int) -> None:
            raise RuntimeError("operation not permitted when stream is capturing")

    assert recorded(model().llm, 600, lambda done, total: None, runner=Unrecordable) is None


def test_a_sliding_window_is_left_to_the_general_way() -> None:
    assert servable(model("ovis2.5").llm) and servable(model("ovis2").llm)
    assert not servable(model("ovis1.6").llm)
    assert decode.warm_up(model("ovis2.5"), context=1000) is None  # no GPU: nothing to record


def test_what_makes_the_host_wait_is_never_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """LLM.int8 looks at its numbers on the way: not by graphs alone, and not by those of many at once."""
    there = model("ovis2.5")
    assert recordable(there.llm)
    int8 = type("Linear8bitLt", (torch.nn.Linear,), {})
    monkeypatch.setitem(there.llm.model.layers[0].mlp._modules, "down_proj", int8(4, 4))
    assert not recordable(there.llm)
    monkeypatch.setattr(type(there.llm), "device", torch.device("cuda"), raising=False)
    assert decode.warm_up(there, context=1000) is None
    monkeypatch.setattr(paged, "runs_flash", lambda device, dtype: True)
    monkeypatch.setattr(paged, "is_flash_attn_2_available", lambda: True)
    assert paged.means(there.llm) == paged.Means("flash_attention_2", in_place=True)


def test_buffers_take_a_share_of_memory_or_none() -> None:
    shape = CacheShape(36, 8, 128, torch.bfloat16)
    assert shape.token_bytes == 147_456
    assert room(shape, 40_960, int(100e9)) == 40_960
    assert 0 < room(shape, 40_960, int(4e9)) * shape.token_bytes <= 1e9
    assert room(shape, 40_960, int(1e9)) == 0
    assert room(shape, 1000, int(-1e9)) == 0


def test_buffers_leave_room_to_read_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free but needed for that isn't shared out."""
    there = model("ovis2.5")
    asked: list[int] = []
    monkeypatch.setattr(decode, "room", lambda shape, context, free: asked.append(free) or 0)
    monkeypatch.setattr(decode.torch.cuda, "mem_get_info", lambda device: (int(3e9), int(24e9)))
    monkeypatch.setattr(type(there.llm), "device", torch.device("cuda"), raising=False)
    assert decode.warm_up(there, context=40_960) is None
    assert asked == [int(3e9) - working_memory(there)]


def test_ids_are_waited_for_on_their_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model on the second GPU the first one is still the current one: its stream knows nothing of the copy."""
    recorded_on = []

    class Event:
        def record(self, stream: object = "the current device's") -> None:
            recorded_on.append(stream)

        def synchronize(self) -> None:
            pass

    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, pin_memory=False, **how: zeros(*size, **how))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"{device}'s")
    relay = Relay(torch.device("cuda:1"))
    relay.post(torch.tensor([7]))
    assert relay.take() == 7 and recorded_on == ["cuda:1's"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("backend", ["inductor", None])
def test_recorded_graphs_give_the_tokens_of_generate(backend: str | None) -> None:
    """What the rest of this file tests step by step, recorded and, with a compiler, compiled."""
    there = load(GOLDEN / "ovis2.5" / "public-a" / "checkpoint", device="cuda")
    ours = Decoder(there.llm, 600, runner=decode.Graphs, backend=backend)
    ours.record(lambda done, total: None)
    assert empty(ours)
    for settings in (LONG, GenerationSettings(max_new_tokens=40, temperature=0.9, repetition_penalty=1.2, seed=5)):
        embeddings = solo.embeddings(there, prompt(250).cuda(), None)
        said = [solo.generate(there, embeddings, settings, ending=NEVER, decoder=used) for used in (None, ours)]
        assert said[0].tolist() == said[1].tolist() and empty(ours)
