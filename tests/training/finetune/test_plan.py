"""How a fine-tuning is planned: shares of old samples, defaults, memory, and where a run may begin or go on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ovis_app import zoo
from ovis_app.checkpoints.placement import Placement
from ovis_app.errors import DataError
from ovis_app.models.config import OvisConfig
from ovis_app.training.finetune import memory
from ovis_app.training.finetune.choices import PARTS, Choices, Method, choices_of, mistakes, parts_of
from ovis_app.training.finetune.mini_samples import drawn
from ovis_app.training.finetune.mixing import OWN, Mix, chosen, epochs, held_out, others, picked, wanted_number
from ovis_app.training.finetune.run_folder import RUN_FILE, check_new, check_same
from ovis_app.training.finetune.samples import Sample

GPU = Placement("cuda:0", torch.bfloat16)


def numbered(number: int) -> list[Sample]:
    return [Sample("old.json", str(place), ()) for place in range(number)]


def chosen_for(name: str, method: Method = "lora", **given: Any) -> Choices:
    return choices_of(zoo.resolve(name), method, given)


@pytest.mark.parametrize(
    ("text", "mix"),
    [("old.json", Mix("old.json")), ("old.json:0.5", Mix("old.json", 0.5)), ("C:\\old.json", Mix("C:\\old.json")),
     ("C:\\old.json:0.2", Mix("C:\\old.json", 0.2)), ("mini:.1", Mix(OWN, 0.1))],
)  # fmt: skip
def test_a_mix_is_a_file_and_a_share(text: str, mix: Mix) -> None:
    assert Mix.parse(text) == mix


def test_shares_are_of_all_that_is_learnt_from() -> None:
    mixes = (Mix("a", 0.25), Mix("b", 0.25))
    assert [wanted_number(200, mix, mixes) for mix in mixes] == [100, 100]
    assert wanted_number(200, Mix("a", 0.5), (Mix("a", 0.5),)) == 200
    old = numbered(30)
    few, many = picked(old, 10, seed=1), picked(old, 75, seed=1)
    assert len(set(few)) == 10 and few == picked(old, 10, seed=1) != picked(old, 10, seed=2)
    assert len(many) == 75 and {many.count(one) for one in old} == {2, 3}


def test_what_is_mixed_in_by_itself() -> None:
    assert chosen([], own=True) == (Mix(OWN),) and chosen([], own=False) == chosen(["none"], own=True) == ()
    assert chosen(["a.json"], own=True) == (Mix("a.json"),)
    for wrong in (["none", "a.json"], ["a.json:0.6", "b.json:0.6"], ["a.json:2"]):
        with pytest.raises(DataError):
            chosen(wrong, own=True)
    with pytest.raises(DataError, match="Ovis-mini"):
        chosen(["mini"], own=False)


def test_each_epoch_has_its_own_old_samples_of_each_file() -> None:
    new, old = numbered(5), [Sample(file, str(n), ()) for file in ("a", "b") for n in range(6)]
    found = epochs(new, old, 3, seed=0)
    mine = [[sample for sample in one if sample.file == "old.json"] for one in found]
    assert len(found) == 3 and mine[0] == mine[1] == mine[2] and set(mine[0]) == set(new)
    assert all(sum(s.file == file for s in one) == 2 for one in found for file in ("a", "b"))
    assert len({s for one in found for s in one}) == 5 + 12 and len(others(found[0], found[1:])) == 8
    assert epochs(new, [], 3, seed=0) == epochs(new, [], 1, seed=0) and len(epochs(new, [], 3, seed=0)) == 1
    assert [len(one) for one in epochs(new, old[:4], 3, seed=0)] == [7, 7, 7]


def test_samples_to_judge_by_are_never_learnt() -> None:
    for number, share, expected in ((100, 0.05, 5), (4, 0.05, 1), (1, 0.5, 0), (10, 0.0, 0), (3, 0.9, 2)):
        learnt, judged = held_out(numbered(number), share, seed=0)
        assert len(judged) == expected and not set(learnt) & set(judged) and len(learnt) + len(judged) == number


def test_ovis_minis_own_questions_are_of_every_kind(tmp_path: Path) -> None:
    samples = drawn(40, tmp_path, seed=3)
    others_too = drawn(4, tmp_path, seed=11)  # of which the fourth would ask "What does <image> mean?"
    assert {sample.kind for sample in samples} == {"one picture", "several pictures", "a clip", "text only"}
    assert any("<think>" in turn.text for sample in samples for turn in sample.turns)
    assert any(len(sample.turns) > 2 for sample in samples)
    for sample in (*samples, *others_too):
        asked = "".join(turn.text for turn in sample.turns if turn.role == "human")
        assert asked.count("<image>") == len(sample.pictures) and asked.count("<video>") == bool(sample.frames)
        assert all(media.path.is_file() for media in sample.media)
    assert drawn(5, tmp_path, seed=3) == samples[:5] != drawn(5, tmp_path, seed=4)


def test_defaults_follow_from_method_and_model() -> None:
    mini, large, full = chosen_for("ovis-mini"), chosen_for("Ovis2.5-2B"), chosen_for("Ovis2.5-2B", "full")
    assert (
        mini.parts == tuple((part, 1e-3) for part in PARTS)
        and mini.dropout == 0
        and (mini.epochs, mini.batch, mini.accumulate) == (14, 4, 1)
    )
    assert large.parts == (("llm", 1e-4),) and (large.epochs, large.batch, large.accumulate) == (3, 1, 16)
    assert full.parts == (("llm", 1e-5),) and full.epochs == 1 and full.checkpointing and not mini.checkpointing
    assert [chosen_for(n).max_tokens for n in ("ovis-mini", "Ovis2.5-9B", "Ovis1.6-Gemma2-9B")] == [
        zoo.MODELS[0].context, 4096, 3072
    ]  # fmt: skip
    assert chosen_for("Ovis2-1B", batch=2, accumulate=4, epochs=2.0).steps(20) == 6


@pytest.mark.parametrize(
    ("text", "parts"),
    [("tower,llm", {"llm": 1e-4, "tower": 1e-4}), ("llm:2e-5|vte:1e-4", {"llm": 2e-5, "vte": 1e-4}),
     ("all", dict.fromkeys(("llm", "tower", "head", "vte"), 1e-4)), ("all,tower:1e-6", {"llm": 1e-4, "tower": 1e-6,
      "head": 1e-4, "vte": 1e-4})],
)  # fmt: skip
def test_what_learns_each_with_its_rate(text: str, parts: dict[str, float]) -> None:
    assert dict(parts_of(text, 1e-4)) == parts


@pytest.mark.parametrize("given", [{"train": "head,eyes"}, {"train": "llm:fast"}, {"train": ","}, {"lr": 0.0},
                                   {"epochs": -1.0}, {"batch": 0}, {"val": 1.0}, {"max_tokens": 3},
                                   {"lr": float("nan")}])  # fmt: skip
def test_nonsense_names_its_flag(given: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"--{next(iter(given)).replace('_', '-')}"):
        chosen_for("ovis-mini", **given)


def test_what_doesnt_go_together() -> None:
    spec = zoo.resolve("Ovis2-2B")
    assert "fewer bits" in mistakes(zoo.resolve("Ovis2-2B-GPTQ-Int4"), "lora", "none", [])
    assert "--quantize int8" in mistakes(spec, "lora", "int8", [])
    assert "--quantize int4" in mistakes(spec, "full", "int4", [])
    assert "--rank" in mistakes(spec, "full", "none", ["rank"])
    assert mistakes(spec, "lora", "int4", ["rank", "lr"]) == mistakes(spec, "full", "none", ["lr"]) == ""


def qwen(layers: int, hidden: int, inner: int, heads: int, vocab: int = 151_936) -> OvisConfig:
    llm = {"model_type": "qwen3", "num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": inner,
           "num_attention_heads": heads, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": vocab}  # fmt: skip
    tower = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "hidden_stride": 2}
    return OvisConfig.from_released({"vit_config": tower, "llm_config": llm, "visual_vocab_size": 65_536})


@pytest.mark.parametrize(
    ("name", "method", "quantize", "train", "gigabytes"),
    [("Ovis2.5-2B", "lora", "none", "llm", 9.3), ("Ovis2.5-2B", "full", "none", "all", 52),
     ("Ovis2.5-9B", "lora", "none", "llm", 24.2), ("Ovis2.5-9B", "lora", "int4", "llm", 14.2)],
)  # fmt: skip
def test_memory_is_what_was_reckoned_by_hand(
    name: str, method: Method, quantize: str, train: str, gigabytes: float
) -> None:
    config = qwen(28, 2048, 6144, 16) if "2B" in name else qwen(36, 4096, 12_288, 32)
    choices, placement = chosen_for(name, method, train=train), GPU.with_quantize(quantize)
    needed = memory.needed(zoo.resolve(name), config, placement, choices, memory.Batch(4096, 512))
    assert needed / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_advice_names_what_would_fit() -> None:
    spec, config, full = zoo.resolve("Ovis2.5-9B"), qwen(36, 4096, 12_288, 32), memory.Batch(4096, 512)
    choices = chosen_for(spec.name)

    def told(free: float, choices: Choices = choices, placement: Placement = GPU) -> list[str]:
        return list(memory.advice(spec, config, placement, choices, full, round(free * 1e9)))

    assert told(16) == ["--quantize int4"]
    assert told(23)[0] == "--quantize int4" and told(23)[1].startswith("--max-tokens 2048")
    assert "--method lora" in told(60, replace(choices, method="full")) and told(2) == []


class Planned:
    """What checking a folder needs of a plan."""

    def __init__(self, out: Path, facts: dict[str, Any]) -> None:
        self.out, self.facts = out, facts


def test_a_run_begins_in_a_new_folder_and_goes_on_in_its_own(tmp_path: Path) -> None:
    facts = {"model": "ovis-mini", "data": "d", "flags": {"seed": 0, "parts": [["llm", 1e-3]]}}
    out = tmp_path / "run"
    check_new(out)
    with pytest.raises(DataError, match="no run to resume in run"):
        check_same(Planned(out, facts))  # type: ignore[arg-type]
    out.mkdir()
    check_new(out)
    (out / RUN_FILE).write_text(json.dumps({**facts, "torch": "2"}), encoding="utf-8")
    with pytest.raises(DataError, match="run holds a run: add --resume"):
        check_new(out)
    check_same(Planned(out, facts))  # type: ignore[arg-type]
    for key in facts:
        with pytest.raises(DataError, match=f"begun with other {key}"):
            check_same(Planned(out, {**facts, key: "other"}))  # type: ignore[arg-type]
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="holds other files"):
        check_new(other)
    with pytest.raises(DataError, match="is a file"):
        check_new(other / "notes.txt")
    (other / "link").symlink_to(other / "gone")
    for bad in (other / "notes.txt" / "run", other / "link", other / ("o" * 300)):
        with pytest.raises(DataError, match="can't be written: check its permissions and the disk, or name another"):
            check_new(bad)
