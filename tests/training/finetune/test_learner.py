"""What of a model learns, how fast, and how it is asked what it knows."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch

from ovis_app import zoo
from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.checkpoints.load import load
from ovis_app.training.finetune import answers, learner
from ovis_app.training.finetune.answers import Asked
from ovis_app.training.finetune.choices import Choices, choices_of
from ovis_app.training.finetune.examination import Examination, Outcome
from tests.adapters import FAMILIES, checkpoint


def chosen(train: str, method: Any = "lora") -> Choices:
    return choices_of(zoo.MINI, method, {"train": train, "lr": 1e-3})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_each_part_learns_at_its_own_rate(family: str, method: str) -> None:
    if method == "lora":
        pytest.importorskip("peft")
    model = load(checkpoint(family))
    choices = chosen("all,tower:1e-5,vte:1e-6", method)
    learning = learner.prepared(model, choices, set())
    groups = learner.groups(learning, choices)
    assert [group["lr"] for group in groups] == [1e-3, 1e-5, 1e-3, 1e-6] and all(group["params"] for group in groups)
    found = [id(parameter) for group in groups for parameter in group["params"]]
    learnt = [id(parameter) for parameter in learning.parameters() if parameter.requires_grad]
    assert sorted(found) == sorted(learnt) and len(set(found)) == len(found)
    names = {id(parameter): name for name, parameter in learning.named_parameters()}
    llm, tower, head, table = ([names[id(one)] for one in group["params"]] for group in groups)
    assert all("llm." in name for name in llm) and all("visual_tokenizer.head." in name for name in head)
    assert all("visual_tokenizer." in name and ".head." not in name for name in tower) and len(table) in (1, 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_is_on_every_linear_layer_that_is_applied(family: str) -> None:
    model = load(checkpoint(family))
    found = learner.targets(model, ["llm", "tower"])
    layers = len(model.llm.model.layers)
    assert sum(name.startswith("llm.") for name in found) == 7 * layers
    assert any("visual_tokenizer." in name for name in found)
    assert not any(word in name for name in found for word in ("lm_head", "embed", "head.0"))
    assert len(learner.pattern(found).split("|")) < len(found)


def test_tokens_that_look_alike_were_never_learnt() -> None:
    model = load(checkpoint("ovis2.5"))
    table = model.get_input_embeddings().weight.data
    table[100:110] = table[100] * torch.linspace(0.5, 2, 10)[:, None]
    table[50:53] = table[50]
    assert learner.alike(model, {50, 51, 52, 100, 105, 7, -300}) == [100, 105]
    assert learner.alike(model, set()) == []


def test_old_questions_are_asked_together_as_they_are_alone() -> None:
    files, model = Checkpoint.read(zoo.MINI_FOLDER, "mini"), load(zoo.MINI_FOLDER)
    asked = list(islice(answers.of_mini(files, 1), 4))
    said = answers.answers(model, files, asked, together=4)
    assert said == answers.answers(model, files, asked)
    shares = answers.shares(asked, said)
    assert list(shares) == ["color", "shape of a color", "what is at", "position"]
    assert sum(good for good, _ in shares.values()) >= 3


def test_what_went_is_told() -> None:
    asked = Asked("", "Which?", "A  zib.", None, lambda said: True)  # type: ignore[arg-type]
    before = Outcome(("x" * 300,), {"color": (4, 4), "count": (3, 4), "word": (1, 4)})
    after = Outcome(("A zib.",), {"color": (1, 4), "count": (3, 4), "word": (2, 4)})
    lines = list(Examination((asked,), (asked,)).told(before, after))
    assert lines[:2] == ["asked:  Which?", "wanted: A zib."] and lines[3] == "after:  A zib." and len(lines[2]) < 220
    assert lines[4] == "old questions: 8 of 12 were answered right before, 6 are now; most went of color: 4 -> 1 of 4"
    assert Outcome.of(before.as_json()) == before
