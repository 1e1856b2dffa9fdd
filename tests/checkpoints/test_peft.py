"""Adapters that peft itself trained and wrote: added here, merged here, and in peft, they are the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ovis_app import zoo
from ovis_app.checkpoints.load import load
from ovis_app.checkpoints.merge import Merge
from ovis_app.models.learning import part_of
from ovis_app.models.ovis import UNLEARNT, Ovis
from tests.adapters import FAMILIES, checkpoint, logits, prompt

peft = pytest.importorskip("peft", reason="peft isn't installed: pip install '.[finetune]'")

LINEARS = r".*\.(q_proj|k_proj|v_proj|o_proj|qkv|proj|fc\d|(gate|up|down)_proj)"
KINDS: dict[str, dict[str, Any]] = {
    "all-linear": {"target_modules": "all-linear"},
    "patterns": {
        "target_modules": LINEARS,
        "rank_pattern": {"q_proj": 2, r"layers\.0\.mlp\..*": 3},
        "alpha_pattern": {"layers.1.self_attn.k_proj": 9},
        "use_rslora": True,
    },
    "tables": {"target_modules": ["vte", "head.0", "patch_embedding", "patchifier.proj"]},
    "whole": {"target_modules": ["o_proj"], "modules_to_save": ["vte", "visual_tokenizer.head", "llm.model.norm"]},
    "rows": {"target_modules": ["down_proj"], "trainable_token_indices": [3, 600, 17]},
    "table": {"target_modules": ["o_proj"], "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
}


def wrapped(model: Ovis, **kind: Any) -> Any:
    return peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, **kind))


def shaken(model: nn.Module) -> None:
    """Gives all that was trained values that count."""
    random = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn(parameter.shape, generator=random) * 0.05


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *(("ovis2.5", kind) for kind in KINDS),
        *(("ovis2", kind) for kind in ("patterns", "tables")),
        *(("ovis1.6", kind) for kind in ("tables", "rows", "table")),  # whose embeddings are scaled
    ],
)
def test_what_peft_wrote_is_the_same_model_here(family: str, kind: str, tmp_path: Path) -> None:
    base = checkpoint(family)
    theirs = wrapped(load(base), **KINDS[kind]).eval()
    untrained = logits(load(base))
    torch.testing.assert_close(logits(theirs, theirs.base_model.model), untrained, rtol=0, atol=5e-5)
    shaken(theirs)
    theirs.save_pretrained(tmp_path / "adapter")
    wanted = logits(theirs, theirs.base_model.model)
    ours = logits(load(base, adapter=tmp_path / "adapter"))
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-4)
    assert (ours - untrained).abs().max() > 1e-2
    Merge.of(base, zoo.adapted(str(base), str(tmp_path / "adapter")), tmp_path / "out").write()
    assert torch.equal(logits(load(tmp_path / "out")), ours)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_matrix_of_an_adapter_learns(family: str) -> None:
    """Also those of the tables that our own code reads, and with checkpointing."""
    model = load(checkpoint(family))
    names = [name for name, module in model.named_modules() if type(module) in (nn.Linear, nn.Conv2d, nn.Embedding)]
    names = [name for name in names if not name.endswith(("lm_head", "position_embedding", "embed_tokens"))]
    adapted = wrapped(model, target_modules=names, trainable_token_indices=[5]).train()
    model.activation_checkpointing_enable()
    ids, pixels = prompt(model)
    labels = torch.tensor([[UNLEARNT] * (len(ids) - 3) + ids[-3:]])
    adapted(input_ids=torch.tensor([ids]), labels=labels, **pixels).loss.backward()
    learnt = {name: value.grad for name, value in adapted.named_parameters() if value.requires_grad}
    # One of each two is zero at first, and the other learns nothing until it isn't.
    second = [name for name in learnt if "lora_A" not in name and "lora_embedding_B" not in name]
    assert len(second) == len(names) + 1
    assert [name for name in second if learnt[name] is None or not learnt[name].any()] == []
    assert part_of(model, "vte") is model.vte


def test_an_adapter_learns_over_four_bits_and_merges_into_the_model_in_full(tmp_path: Path) -> None:
    model = load(zoo.MINI_FOLDER, quantize="int4")
    assert model.is_loaded_in_4bit
    adapted = wrapped(model, target_modules=["q_proj", "down_proj"]).train()
    kinds = {type(module).__name__ for module in adapted.modules()}
    assert "Linear4bit" in kinds
    ids, pixels = prompt(model)
    adapted(input_ids=torch.tensor([ids]), labels=torch.tensor([ids]).clamp(min=UNLEARNT), **pixels).loss.backward()
    matrices = [value for name, value in adapted.named_parameters() if "lora_B" in name and "llm" in name]
    assert matrices and all(value.grad is not None and value.grad.any() for value in matrices)
    shaken(adapted)
    adapted.save_pretrained(tmp_path / "a")
    before = load(zoo.MINI_FOLDER)
    after = load(zoo.MINI_FOLDER, adapter=tmp_path / "a")
    changed = [name for name, value in before.named_parameters() if not torch.equal(value, after.get_parameter(name))]
    assert len([name for name in changed if name.startswith("llm.")]) == 10
