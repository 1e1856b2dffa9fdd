"""What of an Ovis2.6 learns: the attention, behind and before experts that stay as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ovis_app import cli, zoo
from ovis_app.checkpoints.load import load
from ovis_app.errors import DataError
from ovis_app.training.finetune import learner, memory
from ovis_app.training.finetune.choices import choices_of, mistakes
from tests.adapters import logits, prompt
from tests.experts import checkpoint
from tests.training.finetune import runs

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


def test_the_command_teaches_a_folder_of_experts_and_says_what_cannot_learn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter, and the folder that has it within, hold the attention's changes and no expert's."""
    pytest.importorskip("peft")
    model, out = checkpoint(tmp_path / "mixed"), tmp_path / "out"
    runs.samples(tmp_path)
    words = runs.words(tmp_path, "--epochs", "1", "--merge", "--train", "llm")
    words[words.index("--model") + 1] = str(model)
    for more, said in (
        (("--train", "experts"), "--train experts can't be: "),
        (("--train", "llm,experts:1e-5"), "--train experts can't be: "),
        (("--method", "full"), "--method full isn't for mixed, whose experts neither learn"),
        (("--quantize", "int4"), "--quantize int4 isn't for mixed, whose experts neither learn"),
    ):
        assert cli.main(["finetune", *words, *more]) == 2
        told = capsys.readouterr().err
        assert said in told and len(told.splitlines()) == 1 and not out.exists(), told
    with monkeypatch.context() as patch:  # of a repository that nobody knows before its files are here
        resolve = zoo.resolve
        patch.setattr(zoo, "resolve", lambda name: replace(resolve(name), guessed=True, llm=None))
        assert cli.main(["finetune", *words, "--method", "full"]) == 2
    assert "--method full isn't for mixed" in capsys.readouterr().err and not out.exists()
    assert cli.main(["finetune", *words]) == 0
    adapted, merged = logits(load(model, adapter=out / "adapter")), logits(load(out / "merged"))
    torch.testing.assert_close(merged, adapted, rtol=0, atol=1e-4)
    before, after = (load_file(folder / "model.safetensors") for folder in (model, out / "merged"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(".self_attn." in name for name in changed) and before.keys() == after.keys()


def test_what_cannot_learn_is_said() -> None:
    with pytest.raises(DataError, match=r"--train experts can't be: .* Name llm"):
        choices_of(SPEC, "lora", {"train": "experts"})
    assert mistakes(SPEC, "lora", "none", []) == ""
    for method, quantize, flag in (("full", "none", "--method full"), ("lora", "int4", "--quantize int4")):
        assert mistakes(SPEC, method, quantize, []).startswith(f"{flag} isn't for Ovis2.6-30B-A3B")  # type: ignore[arg-type]
