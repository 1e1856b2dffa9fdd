"""What training computes: the loss of an ordinary language model, the same gradients with checkpointing as without, and
gradients for all that learns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ovis_app.checkpoints.load import load
from ovis_app.models import ovis
from ovis_app.models.learning import PARTS, learn, learning
from ovis_app.models.ovis import UNLEARNT, Ovis
from tests.adapters import FAMILIES, checkpoint, prompt

everywhere = pytest.mark.parametrize("family", FAMILIES)


def batch(model: Ovis) -> dict[str, Any]:
    """Two rows of different lengths, a picture in the first; some of each is learnt."""
    first, pixels = prompt(model)
    second = [5, 9, 30, 31, 32, 33]
    width = max(len(first), len(second))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in (first, second)])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in (first, second)])
    labels = torch.full_like(ids, UNLEARNT)
    labels[0, -4:] = ids[0, -4:]
    labels[0, 2] = ids[0, 2]
    labels[1, 2:5] = ids[1, 2:5]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, **pixels}


def by_hand(model: Ovis, given: dict[str, Any]) -> float:
    """The loss token by token, each behind its own beginning alone."""
    visual, losses = model.encode(given["pixel_values"], given["grids"]), []
    for number, (ids, labels) in enumerate(zip(given["input_ids"], given["labels"], strict=True)):
        embeddings = model.embed(ids, visual if number == 0 else None)
        for place in range(1, len(ids)):
            if labels[place] != UNLEARNT:
                logits = model.llm(inputs_embeds=embeddings[:, :place], use_cache=False).logits[0, -1]
                losses.append(float(F.cross_entropy(logits.float()[None], labels[place][None])))
    return sum(losses) / len(losses)


def dense(model: Ovis, given: dict[str, Any]) -> Tensor:
    """The loss by the logits of all places."""
    logits = model(**{key: value for key, value in given.items() if key != "labels"}).logits.float()
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), given["labels"][:, 1:].flatten(), ignore_index=UNLEARNT)


@everywhere
def test_the_loss_is_that_of_all_logits_and_of_one_token_after_the_other(family: str) -> None:
    model = load(checkpoint(family))
    given = batch(model)
    with torch.no_grad():
        out = model(**given)
        assert out.logits.shape[1] == 7 < given["input_ids"].shape[1], "the head computes what is learnt alone"
        assert float(out.loss) == pytest.approx(float(dense(model, given)), abs=1e-5)
        assert float(out.loss) == pytest.approx(by_hand(model, given), abs=1e-5)
        summed = model(**given, num_items_in_batch=torch.tensor(16)).loss
    assert float(summed) == pytest.approx(float(out.loss) * 8 / 16, rel=1e-5)


def gradients(model: Ovis, given: dict[str, Any]) -> dict[str, Tensor]:
    model.zero_grad()
    model(**given).loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


@everywhere
def test_checkpointed_gradients_are_the_same_to_the_bit(family: str) -> None:
    model = load(checkpoint(family)).train()
    learn(model, PARTS)
    given, runs = batch(model), []
    tower = next(layer for layer in model.modules() if isinstance(layer, model.visual_tokenizer.family.tower_layer))
    next(tower.children()).register_forward_hook(lambda *_: runs.append(1))
    plain, once = gradients(model, given), len(runs)
    model.activation_checkpointing_enable()
    spared = gradients(model, given)
    assert len(runs) == 3 * once, "a layer of the tower is computed again"
    assert plain.keys() == spared.keys() and all(torch.equal(plain[name], spared[name]) for name in plain)


@everywhere
@pytest.mark.parametrize("text_only", [False, True])
def test_all_that_learns_gets_a_gradient(family: str, text_only: bool) -> None:
    """Also where no picture is asked about: processes that train together wait for each other's gradients."""
    model = load(checkpoint(family)).train()
    learn(model, PARTS)
    given = batch(model)
    if text_only:
        rows = {name: given[name][1:] for name in ("input_ids", "attention_mask", "labels")}
        with torch.no_grad():
            without = model(**rows).loss
        given = rows
    found = gradients(model, given)
    assert found.keys() == {name for name, value in model.named_parameters() if value.requires_grad}
    assert all(gradient.isfinite().all() for gradient in found.values())
    if text_only:
        assert torch.equal(model(**given).loss, without)
        assert not any(found[name].any() for name in found if name.startswith("visual_tokenizer."))
    else:
        assert all(found[f"visual_tokenizer.{name}"].any() for name in ("head.0.weight", "head.1.weight"))


def test_where_several_train_together_everybody_goes_through_the_tower_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is frozen: where it is sharded, they wait for one another's pieces of it."""
    model = load(checkpoint("ovis2.5")).train()
    learn(model, ["llm"])
    given, runs = batch(model), []
    model.visual_tokenizer.vit.register_forward_hook(lambda *_: runs.append(1))
    text = {name: given[name][1:] for name in ("input_ids", "attention_mask", "labels")}
    alone = model(**text).loss
    assert runs == []
    monkeypatch.setattr(ovis.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(ovis, "CPU_PATCHES", 1)
    assert torch.equal(model(**text).loss, alone) and len(runs) == 1
    patches = torch.randn(3 * 4, 768)
    model.encode(patches, [(3, 2, 2)])
    assert len(runs) == 2


@everywhere
def test_the_parts_are_the_model_but_for_norms_that_nobody_applies(family: str) -> None:
    model = load(checkpoint(family))
    parts = [id(parameter) for part in PARTS for _, parameter in learning(model, part)]
    assert len(parts) == len(set(parts))
    rest = [name for name, parameter in model.named_parameters() if id(parameter) not in parts]
    assert rest and all("post_layernorm" in name or "post_trunk_norm" in name for name in rest)


def test_what_learns_is_in_full_precision_and_nothing_else_learns() -> None:
    model = load(checkpoint("ovis2.5"), dtype=torch.bfloat16)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    learn(model, ["head", "vte"])
    learnt = {name: value.dtype for name, value in model.named_parameters() if value.requires_grad}
    assert learnt == dict.fromkeys(
        ("visual_tokenizer.head.0.weight", "visual_tokenizer.head.1.weight", "visual_tokenizer.head.1.bias",
         "vte.weight"), torch.float32,
    )  # fmt: skip
    learn(model, ["llm"])
    assert not model.vte.weight.requires_grad and model.llm.get_input_embeddings().weight.requires_grad


def test_probabilities_are_not_kept_for_the_gradient() -> None:
    """At 65,532 visual words they would be 256 kB a visual token."""
    model = load(checkpoint("ovis2.5")).train()
    learn(model, ["head", "vte"])
    _, pixels = prompt(model)
    widths: list[int] = []

    def kept(tensor: Tensor) -> Tensor:
        widths.append(tensor.shape[-1] if tensor.ndim else 0)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
        out = model.encode(pixels["pixel_values"], pixels["grids"])
    assert out.requires_grad and model.words.shape[0] not in widths


def test_one_hot_visual_tokens_learn_straight_through() -> None:
    model = load(checkpoint("ovis2")).train()
    model.visual_tokenizer.one_hot = True
    given = batch(model)
    with torch.no_grad():
        before = model(**given).loss
    learn(model, ["head"])
    loss = model(**given).loss
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(before), abs=1e-5)
    head = model.visual_tokenizer.head[0].weight.grad
    assert head is not None and head.any()


def test_where_nothing_is_learnt_the_loss_is_nothing() -> None:
    model = load(checkpoint("ovis2.5")).train()
    learn(model, ["llm"])
    given = batch(model)
    given["labels"] = torch.full_like(given["labels"], UNLEARNT)
    loss = model(**given).loss
    loss.backward()
    assert float(loss.detach()) == 0.0 and math.isfinite(float(model.llm.get_input_embeddings().weight.grad.sum()))


@everywhere
def test_sharding_finds_every_layer_that_is_named(family: str) -> None:
    accelerate = pytest.importorskip("accelerate")
    model = load(checkpoint(family))
    plugin = accelerate.FullyShardedDataParallelPlugin(auto_wrap_policy="transformer_based_wrap", fsdp_version=2)
    plugin.set_auto_wrap_policy(model)  # raises for a name that no module has
    wrapped = plugin.auto_wrap_policy.keywords["transformer_layer_cls"]
    assert model.visual_tokenizer.family.tower_layer in wrapped and len(wrapped) == 2
