"""Visual tokens as ids: what a request holds is its own, and an id never means two things."""

from __future__ import annotations

import random
import threading

import pytest
import torch
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from ovis_app.engine import slots as slots_module
from ovis_app.engine.slots import Held, SlotEmbedding, Slots, runs_of, twin
from ovis_app.models.prompt import VISUAL_ATOM
from tests.engine.crowd import FAMILIES
from tests.engine.prompts import Written, tiny
from tests.waiting import PATIENCE

VOCABULARY, HIDDEN, INDICATORS = 50, 8, 3


def picture(content: int, rows: int) -> tuple[list[int], list[int], Tensor]:
    """Ids, keys and embeddings of a picture between its two indicators; equal content has equal embeddings."""
    values = torch.randn(rows, HIDDEN, generator=torch.Generator().manual_seed(content))
    return [-301, *[VISUAL_ATOM] * rows, -302], [-301, *[-9000 - content] * rows, -302], values


def prompt(*pictures: tuple[int, int]) -> Written:
    """Text, then the pictures (content, rows), with text between."""
    ids, keys, values = [5, 6], [5, 6], []
    for content, rows in pictures:
        more, named, embeddings = picture(content, rows)
        ids, keys, values = [*ids, *more, 7], [*keys, *named, 7], [*values, embeddings]
    tensor = torch.tensor(ids)
    return Written(tensor, torch.ones_like(tensor), tuple(keys), torch.cat(values) if values else None)


def table(rows: int) -> Slots:
    torch.manual_seed(0)
    embedding = SlotEmbedding(nn.Embedding(VOCABULARY, HIDDEN), rows + INDICATORS)
    return Slots(embedding, torch.randn(INDICATORS, HIDDEN))


def hold(slots: Slots, written: Written) -> Held:
    held = slots.hold(written, lambda: False)
    assert held is not None
    return held


def test_the_language_model_reads_what_the_prompt_says() -> None:
    slots = table(20)
    written = prompt((1, 4), (2, 3))
    held = hold(slots, written)
    read = slots.embedding(torch.tensor([held.ids], dtype=torch.int32))[0]
    assert torch.equal(read[written.ids == VISUAL_ATOM], written.visual)
    assert torch.equal(read[written.ids >= 0], slots.embedding.words(written.ids[written.ids >= 0]))
    assert torch.equal(read[written.ids == -302], slots.embedding.table[1:2].expand(2, -1))


def test_the_same_picture_keeps_its_ids() -> None:
    slots = table(20)
    first = hold(slots, prompt((1, 4)))
    slots.release(first)
    again = hold(slots, prompt((1, 4), (2, 3)))
    assert again.ids[:9] == first.ids[:9]
    assert hold(slots, prompt((1, 4))).ids == first.ids


def test_the_same_picture_twice_in_a_prompt_is_read_twice() -> None:
    slots = table(20)
    written = prompt((1, 4), (1, 4))
    assert len(list(runs_of(written.ids.tolist(), written.keys))) == 2
    read = slots.embedding(torch.tensor([hold(slots, written).ids]))[0]
    assert torch.equal(read[written.ids == VISUAL_ATOM], written.visual)


def test_tiles_of_one_picture_are_told_apart() -> None:
    """They share the picture's name, and stand between indicators of their own."""
    slots, rows = table(20), torch.randn(4, HIDDEN)
    ids = torch.tensor([5, -301, VISUAL_ATOM, VISUAL_ATOM, -303, VISUAL_ATOM, VISUAL_ATOM, -302])
    keys = tuple(-9001 if token == VISUAL_ATOM else token for token in ids.tolist())
    for visual in (rows, torch.cat([rows, rows])):  # once, then twice in one prompt
        times = len(visual) // len(rows)
        written = Written(ids.repeat(times), torch.ones(len(ids) * times), keys * times, visual)
        read = slots.embedding(torch.tensor([hold(slots, written).ids]))[0]
        assert torch.equal(read[written.ids == VISUAL_ATOM], visual)


def test_an_id_never_means_two_things() -> None:
    """Random requests over a table that is always too small for all they have seen."""
    slots, rng = table(12), random.Random(1)
    meaning: dict[int, list[float]] = {}
    living: list[tuple[Held, Written]] = []
    for _ in range(400):
        written = prompt(*((rng.randrange(9), 2 + rng.randrange(3)) for _ in range(rng.randrange(1, 3))))
        while living and (rng.random() < 0.5 or slots.held + len(written.visual) > 12):
            slots.release(living.pop(rng.randrange(len(living)))[0])
        living.append((hold(slots, written), written))
        for held, text in living:
            atoms = (text.ids == VISUAL_ATOM).nonzero().flatten().tolist()
            read = slots.embedding(torch.tensor([held.ids]))[0]
            assert torch.equal(read[atoms], text.visual), "a row was taken from a request that holds it"
            for place, row in zip(atoms, text.visual.tolist(), strict=True):
                assert meaning.setdefault(held.ids[place], row) == row, "an id was given twice"
    for held, _ in living:
        slots.release(held)
    assert slots.held == 0 and slots.kept <= 12


def test_a_full_table_makes_wait_until_rows_come_back() -> None:
    slots = table(6)
    first = hold(slots, prompt((1, 4)))
    got: list[Held] = []
    thread = threading.Thread(target=lambda: got.append(hold(slots, prompt((2, 4)))))
    thread.start()
    thread.join(0.05)
    assert got == []
    slots.release(first)
    thread.join(PATIENCE)
    assert len(got) == 1 and slots.held == 4


def test_who_waits_can_give_up_and_holds_nothing() -> None:
    slots = table(6)
    first = hold(slots, prompt((1, 4)))
    assert slots.hold(prompt((2, 4)), lambda: True) is None
    slots.release(first)
    assert slots.held == 0
    assert hold(slots, prompt((2, 6)))


def test_a_large_prompt_is_not_starved_by_small_ones() -> None:
    slots = table(6)
    living = [hold(slots, prompt((1, 2))), hold(slots, prompt((2, 2)))]
    order: list[str] = []

    def ask(name: str, written: Written) -> None:
        hold(slots, written)
        order.append(name)

    large = threading.Thread(target=ask, args=("large", prompt((3, 5))))
    large.start()
    while not slots._line:
        pass
    small = threading.Thread(target=ask, args=("small", prompt((4, 1))))
    small.start()
    small.join(0.05)
    for held in living:
        slots.release(held)
    large.join(PATIENCE)
    small.join(PATIENCE)
    assert order == ["large", "small"]


def test_more_visual_tokens_than_slots_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="7 places"):
        table(6).hold(prompt((1, 7)), lambda: False)


def test_ids_begin_anew_before_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = table(6)
    monkeypatch.setattr(slots_module, "RENEW", 100)
    for content in range(12):
        slots.release(hold(slots, prompt((content, 6))))
    assert slots.spent
    slots.clear()
    assert not slots.spent and max(hold(slots, prompt((1, 6))).ids) < VOCABULARY + 9


def test_the_twin_shares_weights_and_nothing_else() -> None:
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=16, head_dim=4, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    llm = Qwen3ForCausalLM(config).eval()
    other, embedding = twin(llm, 10)
    mine = {parameter.data_ptr() for parameter in llm.parameters()}
    assert mine == {parameter.data_ptr() for parameter in other.parameters()}
    other.set_attn_implementation("eager")
    assert llm.config._attn_implementation == "sdpa"
    assert isinstance(llm.get_input_embeddings(), nn.Embedding) and other.get_input_embeddings() is embedding
    ids = torch.tensor([[1, 2, 3]])
    assert torch.allclose(llm(ids).logits, other(ids).logits, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_are_one_kernel_each(family: str) -> None:
    """On the same weights and with the same results, and the first model keeps its own."""
    llm = tiny(family).model.llm
    before = {name: module for name, module in llm.named_modules() if type(module).__name__.endswith("RMSNorm")}
    other, _ = twin(llm, 8)
    states = torch.randn(3, llm.config.hidden_size)
    assert before and all(llm.get_submodule(name) is module for name, module in before.items())
    for name, module in before.items():
        found = other.get_submodule(name)
        assert type(found) is torch.nn.RMSNorm and found.weight is module.weight
        some = states[:, : len(module.weight)]
        torch.testing.assert_close(found(some), module(some))
