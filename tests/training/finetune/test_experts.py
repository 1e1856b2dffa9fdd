"""What of an Ovis2.6 learns: the attention, behind and before experts that stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ovis_app import zoo
from ovis_app.checkpoints.load import load
from ovis_app.errors import DataError
from ovis_app.training.finetune import learner, memory
from ovis_app.training.finetune.choices import choices_of, mistakes
from tests.adapters import prompt
from tests.experts import checkpoint

SPEC = zoo.resolve("Ovis2.6-30B-A3B")
CHOICES = choices_of(SPEC, "lora", {})


def test_an_adapter_learns_the_attention_around_the_experts(tmp_path: Path) -> None:
    """And the memory that is asked for is that of what learns."""
    pytest.importorskip("peft")
    model = load(checkpoint(tmp_path / "mixed"))
    targets = learner.targets(model, ("llm",))
    assert {name.rpartition(".")[2] for name in targets} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    ids, pixels = prompt(model)
    tokens = torch.tensor([ids])
    learning = learner.with_adapter(model, CHOICES, ())
    assert learner.learnt_parameters(learning) == memory.adapter_parameters(model.config, CHOICES)
    steps = torch.optim.SGD([weight for weight in learning.parameters() if weight.requires_grad], lr=0.05)
    losses = []
    for _ in range(6):
        loss = learning(input_ids=tokens, labels=torch.where(tokens > 0, tokens, -100), **pixels).loss
        loss.backward()
        steps.step()
        steps.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.01


def test_what_cannot_learn_is_said() -> None:
    with pytest.raises(DataError, match=r"--train experts can't be: .* Name llm"):
        choices_of(SPEC, "lora", {"train": "experts"})
    assert mistakes(SPEC, "lora", "none", []) == ""
    for method, quantize, flag in (("full", "none", "--method full"), ("lora", "int4", "--quantize int4")):
        assert mistakes(SPEC, method, quantize, []).startswith(f"{flag} isn't for Ovis2.6-30B-A3B")  # type: ignore[arg-type]
